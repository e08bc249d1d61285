/**
 * One cached MongoDB connection per container.
 * Lambda keeps the process between calls, so a call finds the connection of the one before.
 */
import mongoose from 'mongoose'
import { setting } from './lib/Config.ts'
import { log } from './lib/Log.ts'
import { Problem } from './lib/Problem.ts'

// Operators such as {"$ne": null} in a value become plain values (OWASP NoSQL injection); schemas refuse them before.
mongoose.set('sanitizeFilter', true)
mongoose.set('strictQuery', 'throw')

/** Seconds until a client should try again when the database is away. */
const RETRY_AFTER_SECONDS = 5

let connection: Promise<unknown> | undefined

/**
 * Runs database work on the cached connection.
 * @param work what to do once connected
 * @throws Problem `unavailable` (503) when the database cannot be reached or does not answer in time; the next
 *   call tries again
 */
export async function withDatabase<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    await connect()
    return await work()
  } catch (error) {
    if (!isDatabaseFault(error)) throw error
    throw new Problem('unavailable', {
      headers: { 'Retry-After': String(RETRY_AFTER_SECONDS) },
      cause: error,
    })
  }
}

function connect(): Promise<unknown> {
  if (connection) {
    log.info('=> using existing database connection')
    return connection
  }
  log.info('=> using new database connection')
  connection = open()
  // A failed attempt is forgotten, so that the next call tries again.
  connection.catch(() => (connection = undefined))
  return connection
}

async function open(): Promise<void> {
  await mongoose.connect(setting('DB'), {
    bufferCommands: false,
    // A container serves one request at a time.
    maxPoolSize: 5,
    // Lambda freezes the process between calls; a socket that slept for long is often dead.
    maxIdleTimeMS: 60_000,
    // Together less than 6 s, also when the server is there but silent and a read is tried twice: a request
    // answers 503 long before its Lambda times out.
    serverSelectionTimeoutMS: 3_500,
    connectTimeoutMS: 3_500,
    socketTimeoutMS: 2_000,
    // What was acknowledged survives a crash of the database.
    writeConcern: { w: 'majority', journal: true },
  })
  // The unique index on the e-mail is what makes parallel registrations safe: no container works without it.
  await Promise.all(Object.values(mongoose.models).map((model) => model.createIndexes()))
}

const isDatabaseFault = (error: unknown) =>
  error instanceof mongoose.mongo.MongoError || error instanceof mongoose.Error.MongooseServerSelectionError
