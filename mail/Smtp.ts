/**
 * Sends mail over SMTP.
 */
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
