/**
 * Sends mail over SMTP or, on a laptop without it, writes it to a folder and prints its link.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTransport } from 'nodemailer'

export interface Mail {
  to: string
  subject: string
  text: string
  html: string
}

/** How long each step with the server may take, in milliseconds. */
const PATIENCE = 5_000

/**
 * @param smtpUrl of the server; the connection is encrypted, but to a server on this machine
 * @param from the sender's address, with or without a name
 * @throws Error when the server does not take the mail
 */
export async function sendBySmtp(mail: Mail, smtpUrl: string, from: string): Promise<void> {
  const transport = createTransport({
    url: smtpUrl,
    // Without it a server, or somebody between, could leave the mail in clear.
    requireTLS: !isThisMachine(new URL(smtpUrl).hostname),
    connectionTimeout: PATIENCE,
    greetingTimeout: PATIENCE,
    socketTimeout: 2 * PATIENCE,
    // What a text says must never be fetched or read.
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  try {
    await transport.sendMail({
      ...mail,
      // As an object, so that no address is read as a list of them.
      to: { name: '', address: mail.to },
      from,
      // Holiday answers are for people (RFC 3834 section 5).
      headers: { 'Auto-Submitted': 'auto-generated' },
    })
  } finally {
    transport.close()
  }
}

/** The whole name: 127.0.0.1.example.com is anybody's. */
export const isThisMachine = (hostname: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/i.test(hostname)

/** Writes a mail as two files, text and HTML, and prints what it is and its link. */
export function writeToFolder({ to, subject, text, html }: Mail, folder: string): void {
  mkdirSync(folder, { recursive: true })
  const time = new Date().toISOString().replaceAll(/[:.]/g, '-')
  const name = join(folder, `${time}-${to.replaceAll(/[^\w.@-]/g, '_')}-${randomBytes(2).toString('hex')}`)
  writeFileSync(`${name}.txt`, `To: ${to}\nSubject: ${subject}\n\n${text}`)
  writeFileSync(`${name}.html`, html)
  const [link] = /^https?:\/\/\S+$/m.exec(text) ?? [`see ${name}.txt`]
  process.stdout.write(`Mail to ${to}, "${subject}": ${link}\n`)
}
