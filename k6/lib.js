// What every suite shares: who a visitor is, what an answer means, the way through the waiting room, the summary.
import http from 'k6/http'
import { check, fail, sleep } from 'k6'
import { Counter, Rate, Trend } from 'k6/metrics'
import exec from 'k6/execution'
import { WebSocket } from 'k6/experimental/websockets'

/** Addresses of the edges, without a slash at the end. A visitor keeps to one of them, as behind a load balancer. */
const sites = (__ENV.SITES || 'http://127.0.0.1:8080').split(',')
export const room = __ENV.ROOM || 'e1'
export const event = __ENV.EVENT || 'e1'
// On a machine that does other things too (`scripts/load --small`) times may be five times as long.
const slack = whole('SLACK', 1)
/** A service level in milliseconds, as a threshold: `p(95)` under 120 is `within('p(95)', 120)`. */
export const within = (percentile, ms) => `${percentile}<${ms * slack}`

/** Arrivals a second of the suites with an open model. */
export const rate = whole('RATE', 20)
export const seconds = whole('SECONDS', 30)

const PROTOCOL = 'vestibule.v1'
// As many have an address of their own.
const MOST_ITERATIONS = (1 << 24) - 1

// The three answers that a waiting room gives on purpose are no failures; each is counted under its own name.
export const verdicts = {
  admitted: new Counter('verdict_admitted'),
  queued: new Counter('verdict_queued'),
  limited: new Counter('verdict_limited'),
  failed: new Counter('verdict_failed'),
}
export const failures = new Rate('failures')
export const gate = new Trend('gate_duration', true)
export const shed = new Trend('shed_duration', true)
export const waited = new Trend('waited', true)
export const purchase = new Trend('purchase_duration', true)
export const payment = new Trend('payment_duration', true)
export const bought = new Counter('tickets_paid')
export const soldOut = new Counter('sold_out')

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 399 }, 409, 410, 422, 429, 503))

/** A whole number from the environment. */
export function whole(name, otherwise) {
  const text = __ENV[name]
  if (text === undefined || text === '') return otherwise
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new Error(`${name} is to be a whole number from 1, not ${text}`)
  return Number(text)
}

/** One visitor of this iteration: an edge, an address of its own (behind a trusted hop), headers, cookies. */
export function visitor() {
  return numbered(exec.scenario.iterationInTest, exec.scenario.name)
}

/** Somebody who looks on, before or after the run. */
export function onlooker() {
  return numbered(MOST_ITERATIONS, 'onlooker')
}

function numbered(number, group) {
  const address = `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`
  return {
    site: sites[number % sites.length],
    key: `${group}-${number}-${Date.now()}`,
    headers: { 'X-Forwarded-For': address, 'User-Agent': 'k6' },
    jar: http.cookieJar(),
  }
}

function call(who, method, path, body, headers, name) {
  const params = { headers: Object.assign({}, who.headers, headers), tags: { name: name || path }, timeout: '10s' }
  return http.request(method, who.site + path, body, params)
}

/** What the edge made of a gated request: admitted, queued, limited or failed. Counts it. */
export function verdict(answer) {
  const found = judge(answer)
  verdicts[found].add(1)
  failures.add(found === 'failed')
  if (found === 'admitted') gate.add(answer.timings.duration)
  if (found === 'queued' || found === 'limited') shed.add(answer.timings.duration)
  return found
}

function judge(answer) {
  if (answer.status === 429) return 'limited'
  const kind = answer.headers['Content-Type'] || ''
  const waits = (answer.headers['X-Robots-Tag'] || '').includes('noindex') && kind.startsWith('text/html')
  if (waits && answer.status === 200) return 'queued'
  if (answer.status === 503) return json(answer).code === 'queued' ? 'queued' : 'failed'
  return answer.status >= 200 && answer.status < 400 ? 'admitted' : 'failed'
}

/** The body as an object; {} when it is none. */
export function json(answer) {
  try {
    return answer.json() || {}
  } catch (_) {
    return {}
  }
}

/** The first request, as a browser navigates. */
export function arrive(who) {
  return verdict(call(who, 'GET', '/', null, { Accept: 'text/html,*/*;q=0.8', 'Accept-Encoding': 'gzip' }, 'arrive'))
}

export function join(who) {
  const answer = call(who, 'POST', '/_queue/join', null, { Accept: 'application/json' }, 'join')
  if (answer.status !== 200 && answer.status !== 201) failures.add(true)
  return json(answer)
}

/** Takes the place and asks for it as often as told, until the turn has come; claims it. False: not within `patience`. */
export function queue(who, patience = 120) {
  const since = Date.now()
  let standing = join(who)
  while (standing.state !== 'turn' && standing.state !== 'admitted') {
    if (standing.state === 'expired' || standing.state === 'closed') return false
    if (Date.now() - since > patience * 1000) return false
    sleep(Math.min(Math.max(standing.next_update_seconds || 1, 1), 5))
    standing = json(call(who, 'GET', '/_queue/status', null, { Accept: 'application/json' }, 'status'))
  }
  waited.add(Date.now() - since)
  return enter(who)
}

/** Claims the turn by loading the original address again. */
export function enter(who) {
  for (let attempt = 0; attempt < 5; attempt++) {
    if (arrive(who) === 'admitted') return true
    sleep(0.5)
  }
  return false
}

/** Through the door, at once or after the line. */
export function getIn(who, patience) {
  const first = arrive(who)
  if (first === 'limited') return false
  return first === 'admitted' || queue(who, patience)
}

/** Buys and pays `qty` tickets; a lost answer is asked for again with the same key. True: paid. */
export function buy(who, qty = 1) {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': who.key }
  const order = timed(purchase, () =>
    retried(() => call(who, 'POST', '/purchase', JSON.stringify({ eventId: event, qty }), headers, 'purchase')))
  const placed = json(order)
  if (placed.status === 'REJECTED') {
    soldOut.add(1)
    return false
  }
  if (!check(order, { 'a purchase holds or is sold out': () => placed.status === 'HOLD' })) return false
  const paid = timed(payment, () => retried(() => call(who, 'POST', `/pay/${placed.orderId}`, null, {}, 'pay')))
  const good = check(paid, { 'a held ticket can be paid': () => json(paid).status === 'PAID' })
  if (good) bought.add(qty)
  return good
}

/** Gives the session back, so that the next can come. */
export function leave(who) {
  call(who, 'POST', '/_queue/leave', null, {}, 'leave')
}

function timed(trend, work) {
  const answer = work()
  trend.add(answer.timings.duration)
  failures.add(answer.status === 0 || answer.status >= 500)
  return answer
}

// Lost answers, and those that say "later".
function retried(work) {
  let answer = work()
  for (let attempt = 0; attempt < 3 && [0, 409, 429, 503].includes(answer.status); attempt++) {
    sleep(Math.min(Number(answer.headers['Retry-After']) || 0.2, 2))
    answer = work()
  }
  return answer
}

/** Opens the waiting room's socket of somebody who joined; `on` has `open`, `update`, `turn`, `close`. */
export function live(who, on) {
  const url = `${who.site.replace(/^http/, 'ws')}/_queue/ws?room=${room}`
  const socket = new WebSocket(url, PROTOCOL, { headers: { ...who.headers, Origin: who.site }, jar: who.jar })
  socket.onopen = () => on.open && on.open(socket)
  socket.onclose = (event) => on.close && on.close(event.code)
  socket.onerror = () => on.close && on.close(0)
  socket.onmessage = (frame) => {
    const message = JSON.parse(frame.data)
    if (message.type === 'queue.update' && on.update) on.update(message, socket)
    if (message.type === 'queue.turn' && on.turn) on.turn(message, socket)
  }
  return socket
}

/** Tickets of the event: {total, held, sold}; through the door like everybody. */
export function stock(who) {
  const answer = call(who, 'GET', `/api/events/${event}/availability`, null, { Accept: 'application/json' }, 'stock')
  if (answer.status !== 200) fail(`the stock cannot be read: ${answer.status}`)
  return json(answer)
}

/** A table on the terminal, and everything as JSON where `SUMMARY` says. */
export function summary(data) {
  const rows = Object.entries(data.metrics)
    .filter(([name]) => !name.startsWith('http_req_') || name === 'http_req_failed')
    .map(([name, metric]) => [name, worded(metric), judged(metric)])
    .sort((a, b) => a[0].localeCompare(b[0]))
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, words, mark]) => `${mark} ${name.padEnd(width)}  ${words}`)
  const out = { stdout: `\n${lines.join('\n')}\n\n` }
  if (__ENV.SUMMARY) out[__ENV.SUMMARY] = JSON.stringify(data, null, 1)
  return out
}

function judged(metric) {
  const thresholds = Object.values(metric.thresholds || {})
  if (thresholds.length === 0) return ' '
  return thresholds.every((threshold) => threshold.ok) ? '✓' : '✗'
}

function worded(metric) {
  const { values, type, contains } = metric
  if (type === 'counter') return `${values.count} (${values.rate.toFixed(1)}/s)`
  if (type === 'rate') return `${(values.rate * 100).toFixed(2)} % (${values.passes} of ${values.passes + values.fails})`
  if (type === 'gauge') return `${values.value}`
  const unit = contains === 'time' ? ' ms' : ''
  const shown = ['med', 'p(95)', 'p(99)', 'max'].filter((key) => values[key] !== undefined)
  return shown.map((key) => `${key} ${values[key].toFixed(1)}${unit}`).join('  ')
}

export const trends = ['med', 'avg', 'p(90)', 'p(95)', 'p(99)', 'max']
