// A good day: visitors come somewhat slower than the room lets in, ramping up, and each buys. Nobody waits for long.
import { buy, getIn, leave, rate, seconds, summary, trends, visitor, within } from './lib.js'
import { check, sleep } from 'k6'

const ramp = Math.ceil(seconds / 4)

export const options = {
  scenarios: {
    steady: {
      executor: 'ramping-arrival-rate',
      startRate: Math.max(1, Math.floor(rate / 4)),
      timeUnit: '1s',
      stages: [
        { target: rate, duration: `${ramp}s` },
        { target: rate, duration: `${seconds - ramp}s` },
      ],
      preAllocatedVUs: Math.min(20 + rate * 5, 2000),
      maxVUs: 4000,
      gracefulStop: '30s',
    },
  },
  summaryTrendStats: trends,
  thresholds: {
    checks: ['rate>0.995'],
    failures: ['rate<0.005'],
    gate_duration: [within('p(95)', 120)],
    purchase_duration: [within('p(95)', 500)],
    payment_duration: [within('p(95)', 500)],
    tickets_paid: ['count>0'],
  },
}

export default function () {
  const who = visitor()
  if (!check(getIn(who, 60), { 'everybody gets in': (inside) => inside })) return
  sleep(Math.random())
  buy(who)
  leave(who)
}

export const handleSummary = summary
