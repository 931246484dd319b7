// Custom resources against the schemas of their definitions: objects as a JSON list on stdin, findings as one on
// stdout, `{ schema, problems }` for each; no schema: `schema` is null.
//
// Such schemas let unknown fields pass, as the API server would, which drops them. A misspelt field is a setting that
// never was, so each object is watched while it is validated: what the schema never looked at, it does not know.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const models = join(process.argv[2], "node_modules", "@kubernetes-models");

const packages = {
  "argoproj.io": "argo-cd",
  "cilium.io": "cilium",
  "external-secrets.io": "external-secrets",
  "gateway.networking.k8s.io": "gateway-api",
  "karpenter.k8s.aws": "karpenter",
  "karpenter.sh": "karpenter",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

// The newest that the package knows, where it is older than what we write.
const standIns = { "external-secrets.io/v1": "external-secrets.io/v1beta1" };

const objects = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(objects.map(findings))));

async function findings(object) {
  const apiVersion = standIns[object.apiVersion] ?? object.apiVersion;
  const validate = await validatorOf(apiVersion, object.kind);
  if (!validate) return { schema: null, problems: [] };
  const seen = new Set();
  const valid = validate(watched({ ...object, apiVersion }, "", seen));
  const wrong = valid ? [] : validate.errors.map((error) => `${error.instancePath}: ${explained(error)}`);
  const unknown = paths(object, "").filter((path) => !seen.has(path) && looked(parent(path), seen));
  return { schema: apiVersion, problems: [...wrong, ...unknown.map((path) => `${path}: unknown field`)] };
}

async function validatorOf(apiVersion, kind) {
  const folder = packages[apiVersion.split("/")[0]];
  const model = folder && join(models, folder, apiVersion, `${kind}.js`);
  if (!model || !existsSync(model)) return null;
  const [, schema] = readFileSync(model, "utf8").match(/_schemas\/([\w.-]+)\.js/);
  const { validate } = await import(pathToFileURL(join(models, folder, "_schemas", `${schema}.js`)));
  return validate;
}

function watched(value, path, seen) {
  if (value === null || typeof value !== "object") return value;
  const children = Object.entries(value).map(([key, child]) => [key, watched(child, `${path}/${key}`, seen)]);
  const copy = Array.isArray(value) ? children.map(([, child]) => child) : Object.fromEntries(children);
  return new Proxy(copy, {
    get(target, key) {
      if (typeof key === "string") seen.add(`${path}/${key}`);
      return target[key];
    },
  });
}

// Of every field; what a schema leaves open (a map of anything) has no seen parent, or is looked through as a whole.
function paths(value, path) {
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, child]) => {
    const here = `${path}/${key}`;
    return [...(Array.isArray(value) ? [] : [here]), ...paths(child, here)];
  });
}

function looked(path, seen) {
  return path === "" || seen.has(path);
}

function parent(path) {
  return path.slice(0, path.lastIndexOf("/"));
}

function explained(error) {
  return `${error.keyword} ${JSON.stringify(error.params)}`;
}
