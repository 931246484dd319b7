// Does it work at all? A few visitors go the whole way: in, buy, pay, out. Every answer has to be right.
import { arrive, buy, getIn, leave, seconds, summary, trends, visitor, within } from './lib.js'
import { check } from 'k6'

export const options = {
  scenarios: { smoke: { executor: 'constant-vus', vus: 3, duration: `${seconds}s`, gracefulStop: '30s' } },
  summaryTrendStats: trends,
  thresholds: {
    checks: ['rate==1'],
    failures: ['rate==0'],
    tickets_paid: ['count>0'],
    gate_duration: [within('p(95)', 120)],
    purchase_duration: [within('p(95)', 500)],
  },
}

export default function () {
  const who = visitor()
  if (!check(getIn(who), { 'everybody gets in': (inside) => inside })) return
  check(arrive(who), { 'who is in stays in': (verdict) => verdict === 'admitted' })
  check(buy(who), { 'everybody buys': (paid) => paid })
  leave(who)
}

export const handleSummary = summary
