// How things are said: money, time, tickets, seats.

export const tickets = (n) => (n === 1 ? "1 ticket" : `${n} tickets`);
export const seatsOf = (n) => (n === 1 ? "1 seat" : `${n} seats`);
export const seatWords = (seat) => `Section ${seat.section}, row ${seat.row}, seat ${seat.number}`;

const formats = new Map();

/** An amount in the smallest unit of its currency, as people of this browser's language write it. */
export function money(minor, currency) {
  let format = formats.get(currency);
  if (!format) {
    const digits = new Intl.NumberFormat(undefined, { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
    const written = (least) => new Intl.NumberFormat(undefined, { style: "currency", currency, minimumFractionDigits: least, maximumFractionDigits: digits });
    format = { unit: 10 ** digits, whole: written(0), parts: written(digits) };
    formats.set(currency, format);
  }
  return (minor % format.unit ? format.parts : format.whole).format(minor / format.unit);
}

/** 75 → 1:15 */
export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
export const seconds = (ms) => `${(ms / 1000).toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 })} s`;
export const day = (at) => new Date(at).toLocaleString([], { dateStyle: "full", timeStyle: "short" });
