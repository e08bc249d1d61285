/**
 * A local mail server that keeps every mail in a folder.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import PostalMime from 'postal-mime'
import { SMTPServer } from 'smtp-server'

const LOOPBACK = '127.0.0.1'

/**
 * Starts an SMTP server on a free loopback port. It ends with the process.
 * @param folder where each mail is stored as two files, text and HTML
 * @param print receives one line for each mail: recipient, subject and link
 * @returns the server's URL
 */
export async function startMailbox(folder: string, print: (line: string) => void): Promise<string> {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    // The API decides which addresses are valid.
    lenientAddressParsing: true,
    onData: (stream, { envelope }, done) => void take(stream, envelope.rcptTo, done),
  })
  const take = async (
    stream: Readable,
    recipients: { address: string }[],
    done: (error?: Error) => void,
  ): Promise<void> => {
    let failure: Error | undefined
    try {
      print(await keep(stream, recipients.map(({ address }) => address).join(', '), folder))
    } catch (error) {
      failure = error as Error
    }
    done(failure)
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, LOOPBACK, resolve)
  })
  // A client that hangs up must not end the API.
  server.on('error', () => undefined)
  server.server.unref()
  return `smtp://${LOOPBACK}:${(server.server.address() as AddressInfo).port}`
}

async function keep(stream: Readable, to: string, folder: string): Promise<string> {
  const { subject = '', text = '', html = '' } = await PostalMime.parse(await buffer(stream))
  mkdirSync(folder, { recursive: true })
  const time = new Date().toISOString().replaceAll(/[:.]/g, '-')
  // Most file systems allow names of 255 bytes, and an address has up to 254.
  const name = to.replaceAll(/[^\w.@-]/g, '_').slice(0, 100)
  const file = join(folder, `${time}-${name}-${randomBytes(2).toString('hex')}`)
  writeFileSync(`${file}.txt`, `To: ${to}\nSubject: ${subject}\n\n${text}`)
  writeFileSync(`${file}.html`, html)
  const [link] = /^https?:\/\/\S+$/m.exec(text) ?? [`see ${file}.txt`]
  return `Mail to ${to}, "${subject}": ${link}`
}
