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
import { grantAdmin, normaliseEmail } from '../user/User.ts'
import { DATABASE_NAME, LOCAL_FOLDER, useDatabase } from '../local/Database.ts'
import { LOCAL_STAGE, Secrets } from '../plugin/Secrets.ts'

const USAGE = 'Usage: npm run admin -- grant <email> [--stage <stage>]'

async function run(): Promise<string> {
  const { positionals, values } = readArguments()
  const [command, email, ...more] = positionals
  if (command !== 'grant' || !email || more.length > 0) throw new Error(USAGE)
  const database = await findDatabase(values.stage)
  try {
    await mongoose.connect(database.uri, { serverSelectionTimeoutMS: 3_000 }).catch((error: unknown) => {
      // The driver's message may quote the connection string, which contains a password.
      throw new Error(`Cannot reach the database at ${database.name} (${(error as Error).name}).`, {
        cause: error,
      })
    })
    const { name, disabled } = await grantAdmin(normaliseEmail(email), new Date())
    const note = disabled ? ' The account is disabled, so another admin must enable it.' : ''
    const next = 'Existing access tokens stop working within 5 seconds: refresh or sign in again.'
    return `${name} is now an admin in ${database.name}. ${next}${note}`
  } catch (error) {
    if (!(error instanceof Problem && error.code === 'not_found')) throw error
    throw new Error(
      `No user in ${database.name} has the email address ${email}. Register first, then run this again.`,
      {
        cause: error,
      },
    )
  } finally {
    await mongoose.disconnect()
    await database.stop()
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
): Promise<{ uri: string; name: string; stop: () => Promise<void> }> {
  const secrets = new Secrets(process.cwd(), stage, process.env)
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
