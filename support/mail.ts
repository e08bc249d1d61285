/**
 * Mail as it goes in a deployment: an endpoint that takes invocations as Lambda's does and runs the function that
 * sends mail after it has answered, and an SMTP server that takes what it sends.
 */
import { createServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import PostalMime from 'postal-mime'
import { SMTPServer } from 'smtp-server'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { MailEvent } from '../mail/MailJobs.ts'
import { until } from './until.ts'

interface ReceivedMail {
  /** Of the envelope. */
  to: string
  from: string
  subject: string
  text: string
  html: string
  /** Every header, its name in lower case. */
  headers: { key: string; value: string }[]
  /** The token in its link, if any. */
  token: string | undefined
}

export interface SmtpServer {
  url: string
  /** Waits for the next mail to somebody and takes it out. */
  next: (to: string) => Promise<ReceivedMail>
  /** How many mails nobody has taken yet. */
  waiting: (to?: string) => number
  /** Every mail that ever came. */
  received: ReceivedMail[]
  /** Answers every mail with this from now on; undefined takes them again. */
  refuse: (error: Error | undefined) => void
  /** Says nothing to who connects, not even hello, until it goes on with all of them. */
  hang: (hangs: boolean) => void
  stop: () => Promise<void>
}

/**
 * Starts an SMTP server without TLS, as on a laptop.
 * @param port a free one when left out
 */
export async function startSmtp(port = 0): Promise<SmtpServer> {
  const mails: ReceivedMail[] = []
  const received: ReceivedMail[] = []
  let refusal: Error | undefined
  let isHanging = false
  let waiting: (() => void)[] = []
  const receive = async (stream: Readable, to: string, done: (error?: Error) => void) => {
    const parsed = await PostalMime.parse(await buffer(stream))
    if (refusal) return done(refusal)
    const { from, subject = '', text = '', html = '', headers } = parsed
    const [, token] = /#token=(\S+)/.exec(text) ?? []
    const mail = { to, from: `${from?.name} <${from?.address}>`, subject, text, html, headers, token }
    mails.push(mail)
    received.push(mail)
    done()
  }
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    disableReverseLookup: true,
    onConnect: (_session, done) => {
      if (isHanging) waiting.push(done)
      else done()
    },
    onData: (stream, { envelope }, done) =>
      void receive(stream, envelope.rcptTo.map(({ address }) => address).join(), done),
  })
  server.on('error', () => undefined)
  const listening = await listen(server, server.server, port)
  const find = (to: string) => mails.findIndex((mail) => mail.to === to)
  return {
    url: `smtp://127.0.0.1:${listening}`,
    next: async (to) => {
      await until(() => find(to) >= 0, `a mail to ${to}`)
      return mails.splice(find(to), 1)[0]!
    },
    waiting: (to) => mails.filter((mail) => to === undefined || mail.to === to).length,
    received,
    refuse: (error) => (refusal = error),
    hang: (hangs) => {
      isHanging = hangs
      if (hangs) return
      for (const greet of waiting) greet()
      waiting = []
    },
    stop: () => new Promise((done) => server.close(() => done())),
  }
}

// A server waits 100 ms before it greets, to catch clients that talk too soon. Ours do not, and send a mail per connection.
SMTPConnection.prototype.init = function (this: { _setListeners: Function; connectionReady: () => void }) {
  this._setListeners(() => this.connectionReady())
}

export interface MailFunction {
  url: string
  /** Every invocation so far. */
  events: MailEvent[]
  /** Those whose run has thrown: Lambda would try them again. */
  failed: MailEvent[]
  /** Answers invocations with this status and runs none, or hangs or drops the connection; undefined takes them again. */
  misbehave: (how: number | 'hang' | 'drop' | undefined) => void
  /** Waits until nothing is being done any more. */
  settled: () => Promise<void>
  stop: () => Promise<void>
}

/**
 * Starts an endpoint of asynchronous invocations (Lambda's Invoke with the type Event).
 * @param run the function; what it throws is what Lambda would try again
 */
export async function startMailFunction(run: (event: MailEvent) => Promise<unknown>): Promise<MailFunction> {
  const events: MailEvent[] = []
  const failed: MailEvent[] = []
  let running = 0
  let misbehaviour: number | 'hang' | 'drop' | undefined
  const server = createServer((request, response) => {
    if (misbehaviour !== undefined) {
      if (misbehaviour === 'drop') request.socket.destroy()
      if (typeof misbehaviour === 'number') response.writeHead(misbehaviour).end()
      return
    }
    let body = ''
    request.on('data', (chunk) => (body += String(chunk)))
    request.on('end', () => {
      const isSigned = request.headers.authorization?.startsWith('AWS4-HMAC-SHA256 ')
      if (request.headers['x-amz-invocation-type'] !== 'Event' || !isSigned) {
        response.writeHead(400).end()
        return
      }
      running++
      response.writeHead(202).end(() => {
        const event = JSON.parse(body) as MailEvent
        events.push(event)
        run(event)
          .catch(() => failed.push(event))
          .finally(() => running--)
      })
    })
  })
  const port = await listen(server, server)
  return {
    url: `http://127.0.0.1:${port}/2015-03-31/functions/auth-dev-mail/invocations`,
    events,
    failed,
    misbehave: (how) => (misbehaviour = how),
    settled: () => until(() => running === 0, 'the end of all invocations'),
    stop: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

interface Listener {
  listen: (port: number, host: string, listening: () => void) => unknown
}

async function listen(server: Listener, socket: Server, port = 0): Promise<number> {
  await new Promise<void>((done) => void server.listen(port, '127.0.0.1', done))
  return (socket.address() as AddressInfo).port
}
