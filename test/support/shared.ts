/**
 * What several test files use and what takes long to start: `sls offline`, and the packages of `sls package`. The
 * process that runs the files starts each of them when the first file asks for it, and ends them after the last.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { freePort } from '../../local/Ports.ts'
import { newSettings } from '../../support/newSettings.ts'
import { openPackages, packageIn, type Packages } from '../../support/packages.ts'
import { copyProject, startApi } from '../../support/project.ts'
import { databaseUri, dropDatabase } from './database.ts'
import { newKey } from './forge.ts'

/** The origin of the pages of `api`, and the audience of its tokens. */
export const APP = 'https://app.example.com'
export const AUDIENCE = 'https://api.test'

interface Running {
  url: string
  folder: string
  environment: Record<string, string>
}

interface Built {
  folder: string
  output: string
  settings: Record<string, string>
}

interface Started<Answer extends object = object> {
  answer: Answer
  /** What it has printed. */
  output?: () => string
  stop: () => Promise<void>
}

/** What has been started so far. */
const started: Promise<Started>[] = []

/** Starts something for the first who asks, and keeps it for the others. */
function once<Answer extends object>(work: () => Promise<Started<Answer>>) {
  let thing: Promise<Started<Answer>> | undefined
  return () => {
    if (!thing) started.push((thing = work()))
    return thing
  }
}

/** With nothing set but a database. */
const bareApi = once(() => start({}))

/** What is started, by name. */
const startUps = {
  bareApi,
  /**
   * With its mails going to a server that the tests start and stop, and with a second key that is published and signs
   * nothing yet.
   */
  api: once(async () =>
    start({
      CORS_ORIGIN: APP,
      AUDIENCE,
      SIGNING_KEYS: JSON.stringify({ keys: [newKey(), newKey()] }),
      SMTP_URL: `smtp://127.0.0.1:${await freePort('127.0.0.1')}`,
      MAIL_FROM: 'Example <no-reply@auth.test>',
      APP_URL: 'https://app.test',
    }),
  ),
  /** Made in the folder of `bareApi` while it runs, which must not disturb it. */
  packages: once<Built>(async () => {
    const { folder } = (await bareApi()).answer
    // Without ISSUER and AUDIENCE, as most people deploy it: the API's own URL stands for them.
    const { ISSUER: _, AUDIENCE: __, ...settings } = { ...newSettings(), BCRYPT_COST: '4' }
    const output = await packageIn(folder, settings)
    return { answer: { folder, output, settings }, stop: async () => undefined }
  }),
}

type Name = keyof typeof startUps

async function start(settings: Record<string, string>): Promise<Started<Running>> {
  const { folder, remove } = copyProject()
  const environment = { DB: databaseUri(), BCRYPT_COST: '4', ...settings }
  const api = await startApi(folder, { environment })
  return {
    answer: { url: api.url, folder, environment },
    output: api.output,
    stop: async () => {
      await api.stop()
      remove()
      await dropDatabase(environment.DB)
    },
  }
}

/** Starts what the test files ask for by `GET /<name>`; `GET /<name>/output` gives what it has printed. */
export async function serveShared(): Promise<{ url: string; stop: () => Promise<void> }> {
  const answerTo = async (path: string): Promise<string> => {
    const [, name, output] = path.split('/') as [string, Name, string?]
    const thing: Started = await startUps[name]()
    return JSON.stringify(output ? thing.output?.() : thing.answer)
  }
  const server: Server = createServer((request, response) => {
    answerTo(request.url!).then(
      (text) => response.end(text),
      (error: Error) => response.writeHead(500).end(error.message),
    )
  })
  // Or a file that asks again would find its connection just closed.
  server.keepAliveTimeout = 600_000
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.close()
      server.closeAllConnections()
      await Promise.allSettled(started.map(async (thing) => (await thing).stop()))
    },
  }
}

async function ask<Answer>(path: string): Promise<Answer> {
  const answer = await fetch(`${process.env['SHARED']}/${path}`)
  const text = await answer.text()
  if (!answer.ok) throw new Error(text)
  return JSON.parse(text) as Answer
}

export type SharedApi = Running & { output: () => Promise<string> }

/** An API that serves other files as well: expect people in it who are not of this file. */
export const sharedApi = async (name: Exclude<Name, 'packages'>): Promise<SharedApi> => ({
  ...(await ask<Running>(name)),
  output: () => ask<string>(`${name}/output`),
})

/** The packages, and the settings that they were made with; functions run with a DB of the file's own. */
export async function sharedPackages(): Promise<Packages & { settings: Record<string, string> }> {
  const { folder, output, settings } = await ask<Built>('packages')
  return { ...openPackages(folder, output), settings }
}
