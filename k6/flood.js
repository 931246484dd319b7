// The flood: first contacts without cookies come at a fixed rate, whatever the answers take (an open model), while a
// few hold the door. Nobody may be failed, and shedding has to stay fast.
import { arrive, rate, seconds, summary, trends, visitor, within } from './lib.js'

export const options = {
  discardResponseBodies: false,
  scenarios: {
    flood: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: `${seconds}s`,
      preAllocatedVUs: Math.min(50 + rate, 2000),
      maxVUs: 4000,
    },
  },
  summaryTrendStats: trends,
  thresholds: {
    failures: ['rate<0.005'],
    shed_duration: [within('p(95)', 120), within('p(99)', 500)],
    verdict_queued: ['count>0'],
    // A rate that this machine cannot send is no measurement.
    dropped_iterations: ['count<1'],
  },
}

export default function () {
  arrive(visitor())
}

export const handleSummary = summary
