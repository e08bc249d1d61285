/**
 * One cached MongoDB connection per container.
 * Lambda keeps the process between calls, so a call finds the connection of the one before.
 */
import mongoose from 'mongoose'
import { setting } from './api/Environment.ts'
import { log } from './lib/Log.ts'
import { Problem } from './api/Problem.ts'

// Operators such as {"$ne": null} in a value become plain values (OWASP NoSQL injection); schemas refuse them before.
mongoose.set('sanitizeFilter', true)
mongoose.set('strictQuery', 'throw')

/** Seconds until a client should try again when the database is away. */
const RETRY_AFTER_SECONDS = 5

let connection: Promise<unknown> | undefined

const options: mongoose.ConnectOptions = {
  bufferCommands: false,
  // A container serves one request at a time.
  maxPoolSize: 5,
  // Lambda freezes the process between calls; a socket that slept for long is often dead.
  maxIdleTimeMS: 60_000,
  serverSelectionTimeoutMS: 4_000,
  connectTimeoutMS: 4_000,
  // A socket that stays silent for so long is given up, so that the next request gets another.
  socketTimeoutMS: 4_000,
  // The driver would try again when its socket is found dead: in a container that was frozen meanwhile, long after the
  // client was told 503 and came again. A refresh token that is used up then looks like theft.
  retryWrites: false,
  // What was acknowledged survives a crash of the database.
  writeConcern: { w: 'majority', journal: true },
}

/** How long database work may take before the client is told to come back, in milliseconds. */
const DEADLINE = 5_000

/**
 * Runs database work on the cached connection.
 * @param work what to do once connected; the database only, since it is held to a deadline
 * @throws Problem `unavailable` (503) when the database cannot be reached or does not answer within 5 s; the
 *   next call tries again
 */
export async function withDatabase<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await withDeadline(work)
  } catch (error) {
    if (!isDatabaseFault(error)) throw error
    throw new Problem('unavailable', {
      headers: { 'Retry-After': String(RETRY_AFTER_SECONDS) },
      cause: error,
    })
  }
}

/** A fault that is not the driver's own error, or not always. */
class DatabaseAway extends Error {}

/** The driver's own timeouts are for each attempt of each operation; their sum can outlast the Lambda. */
async function withDeadline<Result>(work: () => Promise<Result>): Promise<Result> {
  let expired = false
  let timer
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      expired = true
      reject(new DatabaseAway(`no answer within ${DEADLINE} ms`))
    }, DEADLINE)
  })
  const result = connect().then(() => {
    // Nobody waits any more: what was refused must not be written.
    if (expired) throw new DatabaseAway('connected too late')
    return work()
  })
  try {
    return await Promise.race([result, deadline])
  } finally {
    clearTimeout(timer)
  }
}

function connect(): Promise<unknown> {
  if (connection) {
    log.info('=> using existing database connection')
    return connection
  }
  log.info('=> using new database connection')
  connection = open(setting('DB'))
  // A failed attempt is forgotten, so that the next call tries again.
  connection.catch(() => (connection = undefined))
  return connection
}

async function open(uri: string): Promise<void> {
  await mongoose.connect(uri, options).catch((cause: unknown) => {
    // Not always an error of the driver: a host name of mongodb+srv:// that DNS does not find is Node's own.
    throw new DatabaseAway('cannot connect', { cause })
  })
  // The unique index on the e-mail is what makes parallel registrations safe: no container works without it.
  await Promise.all(Object.values(mongoose.models).map((model) => model.createIndexes()))
}

const isDatabaseFault = (error: unknown) =>
  error instanceof mongoose.mongo.MongoError || error instanceof DatabaseAway
