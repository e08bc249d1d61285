/**
 * Runs a real MongoDB on a loopback port, for local development and the tests. It ends with the process.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { MongoInstance } from 'mongodb-memory-server-core'
import { findMongod } from './Mongod.ts'
import { freePort, isFree } from './Ports.ts'

/** The data folder of `npm start`, and the name of the database in it. */
export const LOCAL_FOLDER = join('.dev', 'db')
export const DATABASE_NAME = 'auth'

const LOOPBACK = '127.0.0.1'
/** How long to wait for the mongod of an earlier start to end, in milliseconds. */
const PATIENCE = 4_000
/** A file next to the data with the connection string, for commands that run while the API runs. */
const URI_FILE = 'uri'

// The library parses each chunk of mongod's JSON log as one line, and crashes on the first one that is not.
const prototype = MongoInstance.prototype as unknown as { checkErrorInLine: (line: string) => void }
const { checkErrorInLine } = prototype
prototype.checkErrorInLine = function (chunk) {
  for (const line of chunk.split('\n')) checkErrorInLine.call(this, line)
}

/**
 * @param report receives a message about each slow step
 * @param folder the data folder, which is kept across starts. Defaults to a temporary folder
 * @returns the connection string without a database name
 * @throws Error with a message for the user if there is no mongod, or if the data is in use
 */
export async function startDatabase(
  report: (line: string) => void,
  folder?: string,
): Promise<{ uri: string; stop: () => Promise<void> }> {
  const systemBinary = await findMongod(report)
  // Any version will do.
  process.env['MONGOMS_SYSTEM_BINARY_VERSION_CHECK'] ??= 'false'
  const dbPath = folder ?? mkdtempSync(join(tmpdir(), 'mongod-'))
  mkdirSync(dbPath, { recursive: true })

  let mongod: MongoInstance
  try {
    mongod = await start(systemBinary, dbPath, Date.now() + PATIENCE)
  } catch (error) {
    const sentence = isInUse(error)
      ? `The local database in ${dbPath} is in use: this API is already running. Stop it, or set DB to another database.`
      : `The local database in ${dbPath} did not start: ${(error as Error).message}`
    throw new Error(sentence, { cause: error })
  }

  const { mongodProcess, killerProcess } = mongod
  // It must not keep the process alive: if the start fails for another reason, the process ends.
  mongodProcess?.unref()
  for (const stream of [mongodProcess?.stdout, mongodProcess?.stderr]) (stream as Socket | undefined)?.unref()
  // The library's watcher ends mongod within two seconds of our end, even after SIGKILL. This handles a clean exit,
  // which should leave nothing behind even for that long.
  process.once('exit', () => {
    mongodProcess?.kill('SIGTERM')
    killerProcess?.kill('SIGKILL')
    rmSync(join(dbPath, URI_FILE), { force: true })
  })

  const uri = `mongodb://${LOOPBACK}:${mongod.instanceOpts.port}`
  writeFileSync(join(dbPath, URI_FILE), uri)
  return {
    uri,
    stop: async () => {
      await mongod.stop()
      if (!folder) rmSync(dbPath, { recursive: true, force: true })
    },
  }
}

/** Like startDatabase, but uses the database of this folder if it is already running, and then leaves it running. */
export async function useDatabase(
  report: (line: string) => void,
  folder: string,
): Promise<{ uri: string; stop: () => Promise<void> }> {
  const uri = runningAt(folder)
  if (uri && !(await isFree(LOOPBACK, Number(new URL(uri).port)))) return { uri, stop: async () => undefined }
  return startDatabase(report, folder)
}

function runningAt(folder: string): string | undefined {
  try {
    return readFileSync(join(folder, URI_FILE), 'utf8')
  } catch {
    return undefined
  }
}

async function start(systemBinary: string, dbPath: string, until: number): Promise<MongoInstance> {
  try {
    const port = await freePort(LOOPBACK)
    return await MongoInstance.create({
      binary: { systemBinary },
      instance: { ip: LOOPBACK, port, dbPath, storageEngine: 'wiredTiger' },
    })
  } catch (error) {
    if (!(isInUse(error) || isPortTaken(error)) || Date.now() > until) throw error
    await setTimeout(300)
    return start(systemBinary, dbPath, until)
  }
}

const isInUse = (error: unknown) => /DBPathInUse/.test(String(error))

/** Somebody else took the port after it was found free. */
const isPortTaken = (error: unknown) => /Port "?\d+"? already in use/.test(String(error))
