// Those who wait: each takes a place, opens the live socket and stays until the turn or the end of the run. All have to
// be placed at once and again and again, no position may grow, no socket may be lost.
import { arrive, enter, failures, join, leave, live, rate, seconds, summary, trends, visitor, waited, within } from './lib.js'
import { Counter, Rate, Trend } from 'k6/metrics'

const opened = new Trend('socket_open_duration', true)
const placed = new Trend('first_place_duration', true)
const late = new Trend('update_late', true)
const updates = new Counter('socket_updates')
const turns = new Counter('socket_turns')
const lost = new Rate('sockets_lost')
const grew = new Rate('position_grew')

export const options = {
  scenarios: {
    sockets: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: `${Math.ceil(seconds / 3)}s`,
      preAllocatedVUs: Math.min(rate * seconds, 5000),
      maxVUs: 10000,
      gracefulStop: `${seconds + 30}s`,
    },
  },
  summaryTrendStats: trends,
  thresholds: {
    failures: ['rate<0.005'],
    sockets_lost: ['rate==0'],
    position_grew: ['rate==0'],
    socket_open_duration: [within('p(95)', 500)],
    first_place_duration: [within('p(95)', 2000)],
    // How much later than promised a place was told again. Places are told once a second: one may be missed by a hair.
    update_late: [within('p(95)', 1000), within('p(99)', 2000)],
    socket_updates: ['count>0'],
    dropped_iterations: ['count<1'],
  },
}

export default function () {
  const who = visitor()
  if (arrive(who) !== 'queued') return leave(who)
  const standing = join(who)
  if (standing.state === 'turn' || standing.state === 'admitted') return leave(who)
  wait(who)
}

function wait(who) {
  const since = Date.now()
  let shown = Infinity
  let due = null
  let over = false
  const end = () => {
    over = true
    clearTimeout(home)
    socket.close(1000)
  }
  const socket = live(who, {
    open: () => opened.add(Date.now() - since),
    update(message) {
      const now = Date.now()
      updates.add(1)
      if (due === null) placed.add(now - since)
      else late.add(Math.max(0, now - due))
      due = now + message.next_update_seconds * 1000
      if (message.position !== null) {
        grew.add(message.position > shown)
        shown = message.position
      }
    },
    turn() {
      turns.add(1)
      waited.add(Date.now() - since)
      failures.add(!enter(who))
      leave(who)
      end()
    },
    close() {
      lost.add(!over)
      clearTimeout(home)
    },
  })
  const home = setTimeout(end, seconds * 1000)
}

export const handleSummary = summary
