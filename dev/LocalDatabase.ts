/**
 * A real MongoDB of one's own on a loopback port, for the laptop and the tests. It ends with the process.
 */
import { mkdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { MongoMemoryServer } from 'mongodb-memory-server-core'
import { findMongod } from './Mongod.ts'

/** How long a mongod of a start before may take to end, in milliseconds. */
const PATIENCE = 6_000

/**
 * @param folder where the data are, kept across starts; a temporary one when left out
 * @param report is told what takes a while
 * @returns the connection string without a database name
 * @throws Error with a sentence when there is no mongod, or when the data are in use
 */
export async function startDatabase(
  report: (line: string) => void,
  folder?: string,
): Promise<{ uri: string; stop: () => Promise<void> }> {
  const systemBinary = await findMongod(report)
  // Any version does.
  process.env['MONGOMS_SYSTEM_BINARY_VERSION_CHECK'] ??= 'false'
  if (folder) mkdirSync(folder, { recursive: true })

  const server = await startUnlessInUse(Date.now() + PATIENCE, {
    binary: { systemBinary },
    instance: { ip: '127.0.0.1', storageEngine: 'wiredTiger', ...(folder && { dbPath: folder }) },
    // The first start of a cold machine takes its time.
    ...(folder && { spawn: {} }),
  }).catch((error: Error) => {
    throw new Error(explain(error, folder), { cause: error })
  })

  // The server's own watcher ends the mongod within two seconds of our death, even by SIGKILL; this is for a
  // clean exit, which should leave nothing behind for even that long.
  const { mongodProcess, killerProcess } = server.instanceInfo!.instance
  process.once('exit', () => {
    mongodProcess?.kill('SIGTERM')
    killerProcess?.kill('SIGKILL')
  })

  return {
    uri: server.getUri().replace(/\/$/, ''),
    stop: async () => {
      await server.stop({ doCleanup: folder === undefined, force: false })
    },
  }
}

async function startUnlessInUse(
  until: number,
  options: Parameters<typeof MongoMemoryServer.create>[0],
): Promise<MongoMemoryServer> {
  try {
    return await MongoMemoryServer.create(options)
  } catch (error) {
    if (!isInUse(error) || Date.now() > until) throw error
    await setTimeout(300)
    return startUnlessInUse(until, options)
  }
}

const isInUse = (error: unknown) => /DBPathInUse|lock file/i.test(String(error))

function explain(error: Error, folder: string | undefined): string {
  if (isInUse(error)) {
    return `The local database in ${folder} is in use: this API runs already. Stop it, or set DB to another database.`
  }
  return `The local database${folder ? ` in ${folder}` : ''} did not start: ${error.message}`
}
