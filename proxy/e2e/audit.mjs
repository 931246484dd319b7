// What a page must not have, found in the page itself: `page.evaluate(audit)` gives a list of complaints.
// It needs everything within itself, as it is sent to the browser as text.

export function audit() {
  const complaints = [];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true });
  const what = (element) => `${element.tagName.toLowerCase()}#${element.id || element.className}`;

  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let behind = element; behind; behind = behind.parentElement) {
      const color = rgba(getComputedStyle(behind).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const [one, other] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    return (one + 0.05) / (other + 0.05);
  };

  const nameOf = (element) => (element.ariaLabel || element.labels?.[0]?.innerText || element.innerText || "").trim();
  for (const control of document.querySelectorAll("button, select, input, a, [role=gridcell]")) {
    if (shown(control) && !nameOf(control)) complaints.push(`${what(control)} has no name`);
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  if (new Set(ids).size !== ids.length) complaints.push("an id is there twice");
  if (document.querySelectorAll("h1").length !== 1 || !document.querySelector("main") || !document.documentElement.lang) complaints.push("one h1, one main and a language are needed");
  for (const cell of document.querySelectorAll("[role=gridcell]")) {
    if (cell.parentElement.role !== "row" || !cell.closest("[role=grid]")?.ariaLabel) { complaints.push("a seat is outside a row of a named grid"); break; }
  }
  if (document.querySelector("[role=grid] [role]") && document.querySelectorAll('[role=gridcell][tabindex="0"]').length !== 1) complaints.push("Tab reaches one seat");
  for (const role of ["status", "alert"]) if (!document.querySelector(`[role=${role}]`)) complaints.push(`no ${role}`);

  for (const element of document.querySelectorAll("main *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!hasText || !shown(element) || element.disabled) continue;
    if (contrast(element) < 4.5) complaints.push(`${what(element)} has a contrast of ${contrast(element).toFixed(2)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("main *")].filter((element) => !element.closest("#frame") && element.getBoundingClientRect().right > innerWidth + 1);
    complaints.push(`${document.documentElement.scrollWidth} px wide in ${innerWidth}: ${wide.slice(0, 4).map(what).join(", ")}`);
  }
  for (const button of document.querySelectorAll("button, select")) {
    if (shown(button) && button.getBoundingClientRect().height < 44) complaints.push(`${what(button)} is less than 44 px high`);
  }
  return complaints;
}
