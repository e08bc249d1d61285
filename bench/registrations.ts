/**
 * Registrations on a laptop (`sls offline`, as `npm start` runs it): 500 one after the other, which must not become slower with every mail, and
 * 50 at once, each of which must be answered.
 *
 *   npx tsx bench/registrations.ts
 */
import { copyProject, startApi } from '../support/project.ts'
import { median, printLimit, printTable } from '../support/measure.ts'

const IN_A_ROW = 500
const AT_ONCE = 50
/** How much slower the last 50 may be than the first 50, as a ratio. */
const SLOWER = 1.5

const register = async (url: string, email: string) => {
  const start = performance.now()
  const response = await fetch(`${url}/register`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: 'Ann', email, password: 'a horse on the moon' }),
  })
  const status = response.headers.has('retry-after') ? `${response.status} Retry-After` : `${response.status}`
  return { status, milliseconds: performance.now() - start }
}

/** Runs work on an API of its own. */
async function onApi<Result>(
  environment: NodeJS.ProcessEnv,
  work: (url: string) => Promise<Result>,
): Promise<Result> {
  const { folder, remove } = copyProject()
  const api = await startApi(folder, { quiet: true, environment })
  try {
    return await work(api.url)
  } finally {
    await api.stop()
    remove()
  }
}

const LIMITS = JSON.stringify({ registrationsPerAddress: 1_000_000 })
const row = await onApi({ BCRYPT_COST: '4', LIMITS }, async (url) => {
  const times: number[] = []
  for (let index = 0; index < IN_A_ROW; index++) {
    const { status, milliseconds } = await register(url, `row${index}@example.com`)
    if (status !== '201') throw new Error(`registration ${index} was answered ${status}`)
    times.push(milliseconds)
  }
  return times
})

const answers = await onApi({}, (url) =>
  Promise.all(Array.from({ length: AT_ONCE }, (_, index) => register(url, `burst${index}@example.com`))),
)
const tally: Record<string, number> = {}
for (const { status } of answers) tally[status] = (tally[status] ?? 0) + 1

printTable([
  ['registrations', 'median ms'],
  ['the first 50 of 500', median(row.slice(0, 50)).toFixed(1)],
  ['the last 50 of 500', median(row.slice(-50)).toFixed(1)],
])
printTable([
  [`${AT_ONCE} at once`, 'answers'],
  ...Object.entries(tally).map(([status, count]) => [status, String(count)]),
  ['all answered after, s', (Math.max(...answers.map(({ milliseconds }) => milliseconds)) / 1000).toFixed(1)],
])
printLimit('last 50 / first 50', median(row.slice(-50)) / median(row.slice(0, 50)), SLOWER, '')
const unanswered = answers.filter(({ status }) => !/^(201|429 Retry-After|503 Retry-After)$/.test(status))
printLimit('registrations at once without an answer', unanswered.length, 0, '')
