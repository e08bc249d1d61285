/**
 * How long an access token lives after its session has ended: 50 logouts, spread over all phases of the 5 s in which
 * an authorizer does not ask the database, at a real `sls offline`. Every token is used on and on, by several clients
 * at once, so that several instances of the authorizer answer, each with a memory of its own. The lag runs from the
 * answer of POST /logout to the start of the first request that is refused and after which none is let in.
 *
 *   npx tsx bench/revocation-lag.ts
 */
import { setTimeout } from 'node:timers/promises'
import { jsonOf, send } from '../support/http.ts'
import { median, percentile, printLimit, printTable } from '../support/measure.ts'
import { copyProject, startApi } from '../support/project.ts'

const LOGOUTS = 50
/** Between two logouts, in milliseconds: no two of 50 fall at the same phase of 5 s. */
const SPACING = 730
/** Between two requests with the same token. */
const PAUSE = 50
/** For so long after its logout is a token used: longer than it should live. */
const WATCHED = 8_000
/** Seconds; to this comes one request. */
const LIMIT = 5

const { folder, remove } = copyProject()
// The least that bcrypt takes: the accounts are not what is measured.
const api = await startApi(folder, { environment: { BCRYPT_COST: '4', POWERTOOLS_LOG_LEVEL: 'SILENT' } })

const call = (method: string, path: string, token: string) => send(api.url + path, { method, token })

async function register(index: number): Promise<string> {
  const json = { name: 'Ann', email: `ann-${index}@example.com`, password: 'a horse on the moon' }
  return (await jsonOf(send(`${api.url}/register`, { json })))['token']!
}

const requests: number[] = []

/** @returns when the request began and whether it was let in */
async function isLetIn(token: string): Promise<{ began: number; letIn: boolean }> {
  const began = performance.now()
  const { status } = await call('GET', '/me', token)
  requests.push(performance.now() - began)
  if (status !== 200 && status !== 401) throw new Error(`GET /me answers ${status}.`)
  return { began, letIn: status === 200 }
}

/** Logs out and uses the token on; in milliseconds. */
async function lagOf(token: string): Promise<number> {
  if (!(await isLetIn(token)).letIn) throw new Error('A good token is refused.')
  const { status } = await call('POST', '/logout', token)
  const loggedOut = performance.now()
  if (status !== 204) throw new Error(`POST /logout answers ${status}.`)
  let refusedSince: number | undefined
  while (performance.now() < loggedOut + WATCHED) {
    const { began, letIn } = await isLetIn(token)
    refusedSince = letIn ? undefined : (refusedSince ?? began)
    await setTimeout(PAUSE)
  }
  if (refusedSince === undefined) throw new Error(`A token is let in ${WATCHED} ms after its logout.`)
  return refusedSince - loggedOut
}

try {
  const tokens: string[] = []
  for (let index = 0; index < LOGOUTS; index++) tokens.push(await register(index))
  // Starts the instances, which take a second each for their first token.
  await Promise.all(tokens.slice(0, 10).map((token) => isLetIn(token)))
  requests.length = 0

  const lags = await Promise.all(
    tokens.map(async (token, index) => {
      await setTimeout(index * SPACING)
      return (await lagOf(token)) / 1000
    }),
  )
  const seconds = requests.map((request) => request / 1000)
  const row = (label: string, values: number[]) => [
    label,
    median(values).toFixed(2),
    percentile(values, 0.9).toFixed(2),
    Math.max(...values).toFixed(2),
  ]
  printTable([
    [`${LOGOUTS} logouts, ${requests.length} requests`, 'median s', 'p90 s', 'longest s'],
    row('POST /logout until GET /me is refused', lags),
    row('GET /me', seconds),
  ])
  printLimit('longest lag', Math.max(...lags), Number((LIMIT + Math.max(...seconds)).toFixed(2)), ' s')
} finally {
  await api.stop()
  remove()
}
