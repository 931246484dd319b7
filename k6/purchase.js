// The rush on too few tickets: more buyers than tickets, all inside, all at once, some with two requests of one key.
// Sold is sold once; the counts are compared with the shop's before and after.
import { buy, event, getIn, leave, onlooker, seconds, stock, summary, trends, visitor, whole, within } from './lib.js'
import { check } from 'k6'
import { Gauge } from 'k6/metrics'

const buyers = whole('BUYERS', 40)
const leftOver = new Gauge('stock_left')

export const options = {
  scenarios: { purchase: { executor: 'constant-vus', vus: buyers, duration: `${seconds}s`, gracefulStop: '30s' } },
  summaryTrendStats: trends,
  thresholds: {
    checks: ['rate>0.995'],
    failures: ['rate<0.005'],
    purchase_duration: [within('p(95)', 500)],
    payment_duration: [within('p(95)', 500)],
    sold_out: ['count>0'],
    stock_left: ['value==0'],
  },
}

export default function () {
  const who = visitor()
  if (!getIn(who, 60)) return
  buy(who, 1 + (__ITER % 3))
  leave(who)
}

export function teardown() {
  const who = onlooker()
  if (!getIn(who, 60)) return
  const { total, held, sold } = stock(who)
  leftOver.add(total - sold - held)
  check(null, { [`${event} is not oversold`]: () => sold + held <= total })
}

export const handleSummary = summary
