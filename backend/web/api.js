// Calls to the box office, and what a browser remembers of them.

const RETRIES = 6;
const CALL_MS = 15_000;

export const at = (id) => document.getElementById(id);
export const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const random = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
export const newKey = () => random(16);

/** What a reload must not forget. A private window may refuse; then a reload forgets. */
function memory(open) {
  const tried = (work) => { try { return work(open()); } catch { return null; } };
  return {
    read: (name) => tried((store) => JSON.parse(store.getItem(name))),
    write(name, value) {
      tried((store) => (value ? store.setItem(name, JSON.stringify(value)) : store.removeItem(name)));
      return value;
    },
  };
}

/** Of this tab: the key of a purchase that is not answered yet, so that two tabs are two purchases. */
export const tab = memory(() => sessionStorage);
/** Of all tabs: the order on hold. */
export const browser = memory(() => localStorage);

// Without a waiting room in front, the shop needs a name for the buyer; behind one it ignores this.
const me = browser.read("buyer") ?? browser.write("buyer", newKey());

// All calls of one purchase are one trace, from this page to the payment's webhook (W3C Trace Context).
let trace = tab.read("trace") ?? newKey();
const traceparent = () => `00-${trace}-${random(8)}-01`;

/** What follows is another purchase. */
export const beginTrace = () => { trace = tab.write("trace", newKey()); };

let lead = 0; // this clock minus the server's, in milliseconds

/** The server's clock. */
export const serverNow = () => Date.now() - lead;

/** One call. Answers { status, wait, body }; a lost connection is status 0. */
export async function call(method, path, body, headers = {}) {
  try {
    const answer = await fetch(path, {
      method, cache: "no-store", signal: AbortSignal.timeout(CALL_MS),
      headers: { accept: "application/json", "x-user-id": me, traceparent: traceparent(), ...(body && { "content-type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
    const date = Date.parse(answer.headers.get("date"));
    // `Date` is cut to the second. The later guess keeps the countdown from promising more than there is.
    if (date) lead = Date.now() - (date + 1000);
    const isJson = (answer.headers.get("content-type") ?? "").includes("json");
    return { status: answer.status, wait: Number(answer.headers.get("retry-after")) || 0, body: isJson ? await answer.json() : {} };
  } catch {
    return { status: 0, wait: 0, body: {} };
  }
}

/** Repeats what may be repeated: the same key makes a retry the same purchase. */
export async function callUntilAnswered(method, path, body, headers) {
  for (let attempt = 1; ; attempt++) {
    const answer = await call(method, path, body, headers);
    if (!passes(answer) || attempt === RETRIES) return answer;
    const ms = Math.max(answer.wait * 1000, 400 * attempt) + Math.random() * 400;
    at("status").textContent = answer.status === 0 ? "No connection; trying again…" : `The shop is busy; trying again in ${Math.ceil(ms / 1000)} s…`;
    await wait(ms);
  }
}

/** Whether the session is over, so that nothing but the waiting room helps. */
export const isSessionOver = ({ status, body }) => body.code === "queued" || status === 401 || status === 403;

function passes({ status, body }) {
  if (body.code === "queued" || body.code === "visitor-limit") return false;
  return status === 0 || status === 429 || status >= 500 || body.code === "in-flight";
}
