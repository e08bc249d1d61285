/**
 * Makes a registered user an admin. Use it to create the first admin:
 *
 *   npm run admin -- grant ann@example.com [--stage prod]
 *
 * It uses the database in DB, from the environment or the stage's secrets file. Without DB, the stage dev
 * uses the database of `npm start`, whether or not that is running.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import mongoose from 'mongoose'
import { Problem } from '../api/Problem.ts'
import { noticeMail, render } from '../mail/MailTemplates.ts'
import { sendBySmtp } from '../mail/Smtp.ts'
import { ADMIN } from '../user/Roles.ts'
import { findAdmins, findUserByEmail, grantAdmin, normaliseEmail } from '../user/User.ts'
import { DATABASE_NAME, LOCAL_FOLDER, useDatabase } from '../local/Database.ts'
import { LOCAL_STAGE, Secrets } from '../plugin/Secrets.ts'

const USAGE = 'Usage: npm run admin -- grant <email> [--stage <stage>]'

async function run(): Promise<string> {
  const { positionals, values } = readArguments()
  const [command, email, ...more] = positionals
  if (command !== 'grant' || !email || more.length > 0) throw new Error(USAGE)
  const address = normaliseEmail(email)
  const secrets = new Secrets(process.cwd(), values.stage, process.env)
  const database = await findDatabase(values.stage, secrets)
  try {
    await mongoose.connect(database.uri, { serverSelectionTimeoutMS: 3_000 }).catch((error: unknown) => {
      // The driver's message may quote the connection string, which contains a password.
      throw new Error(`Cannot reach the database at ${database.name} (${(error as Error).name}).`, {
        cause: error,
      })
    })
    const before = await findUserByEmail(address)
    const user = await grantAdmin(address, new Date())
    const notes = [
      `${user.name} is now an admin in ${database.name}.`,
      'Existing access tokens stop working within 5 seconds: refresh or sign in again.',
      user.disabled ? 'The account is disabled, so another admin must enable it.' : '',
      before?.roles.includes(ADMIN) ? '' : await tellAdmins(user.id, secrets),
    ]
    return notes.filter(Boolean).join(' ')
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const reason =
      error.code === 'email_not_verified'
        ? `The email address ${email} is not verified in ${database.name}. Follow the link that was sent to it, then run this again.`
        : `No user in ${database.name} has the email address ${email}. Register first, then run this again.`
    throw new Error(reason, { cause: error })
  } finally {
    await mongoose.disconnect()
    await database.stop()
  }
}

/**
 * Emails the other admins. This command writes to the database directly, so it sends the emails itself.
 * @returns a sentence if it could not
 */
async function tellAdmins(subjectId: string, secrets: Secrets): Promise<string> {
  const others = await findAdmins(subjectId)
  const [smtpUrl, from] = [secrets.get('SMTP_URL'), secrets.get('MAIL_FROM')]
  if (others.length === 0) return ''
  if (!smtpUrl || !from) return 'The other admins were not told, because SMTP_URL or MAIL_FROM is not set.'
  const product = secrets.get('PRODUCT_NAME') ?? 'Auth'
  const facts = { product, appUrl: '', time: new Date(), address: undefined }
  const content = noticeMail(facts, { notice: 'adminAdded', subjectId })
  try {
    for (const { email } of others) await sendBySmtp(render(content, product, email), smtpUrl, from)
    return ''
  } catch (error) {
    return `The other admins were not told: ${(error as Error).message}`
  }
}

function readArguments() {
  try {
    const options = { stage: { type: 'string', default: LOCAL_STAGE } } as const
    return parseArgs({ allowPositionals: true, options })
  } catch (cause) {
    throw new Error(USAGE, { cause })
  }
}

/** Finds the connection string, and a name for the database that does not contain the password. */
async function findDatabase(
  stage: string,
  secrets: Secrets,
): Promise<{ uri: string; name: string; stop: () => Promise<void> }> {
  const uri = secrets.get('DB')
  if (uri) {
    const name = uri.replace(/\?.*/, '').replace(/^mongodb(\+srv)?:\/\/(.*@)?/, '')
    return { uri, name, stop: async () => undefined }
  }
  if (stage !== LOCAL_STAGE)
    throw new Error(`Setting DB is missing. Set it in ${secrets.file} or in the environment.`)
  const local = await useDatabase(
    (line) => process.stderr.write(`${line}\n`),
    join(process.cwd(), LOCAL_FOLDER),
  )
  return { ...local, uri: `${local.uri}/${DATABASE_NAME}`, name: LOCAL_FOLDER }
}

try {
  process.stdout.write(`${await run()}\n`)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}
