/**
 * Sends mail over SMTP.
 */
import { createTransport } from 'nodemailer'
import { isThisMachine } from '../lib/Network.ts'

export interface Mail {
  to: string
  subject: string
  text: string
  html: string
}

/** How long each step of the SMTP dialog may take, in milliseconds. */
const TIMEOUT = 5_000

/**
 * Sends one email.
 * @param smtpUrl the URL of the server. The connection is encrypted, unless the server is on this machine
 * @param from the sender's address, with or without a name
 * @throws Error if the server does not accept the email
 */
export async function sendBySmtp(mail: Mail, smtpUrl: string, from: string): Promise<void> {
  const transport = createTransport({
    url: smtpUrl,
    // Without this, the server, or someone in between, could make us send in clear text.
    requireTLS: !isThisMachine(new URL(smtpUrl).hostname),
    connectionTimeout: TIMEOUT,
    greetingTimeout: TIMEOUT,
    socketTimeout: 2 * TIMEOUT,
    // Never load a file or URL that the content names.
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  try {
    await transport.sendMail({
      ...mail,
      // An object, so that an address is never parsed as a list of addresses.
      to: { name: '', address: mail.to },
      from,
      // Prevents automatic replies, such as vacation notices (RFC 3834 section 5).
      headers: { 'Auto-Submitted': 'auto-generated' },
    })
  } finally {
    transport.close()
  }
}
