/**
 * One cached MongoDB connection per container. Lambda keeps the process between calls, so a call finds the connection
 * of the one before.
 */
import mongoose from 'mongoose'
import type { OpenDatabase } from './api/Route.ts'
import { Problem } from './api/Problem.ts'
import { Deadline, DeadlineExceeded } from './lib/Deadline.ts'
import { log } from './lib/Log.ts'

// Operators such as {"$ne": null} in a value become plain values (OWASP NoSQL injection); schemas refuse them before.
mongoose.set('sanitizeFilter', true)
mongoose.set('strictQuery', 'throw')

/**
 * How long one request may wait for the database in total, in milliseconds. Shorter than any function's timeout, so
 * that the client gets our 503 and not the gateway's 504.
 */
const DATABASE_TIME = 5_000

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
  // The driver would retry when it finds its socket dead: in a container that was frozen meanwhile, long after the
  // client got a 503 and tried again. A refresh token that is used up then looks like theft.
  retryWrites: false,
  // What was acknowledged survives a crash of the database.
  writeConcern: { w: 'majority', journal: true },
}

/** What is used of a Mongoose model here. */
interface Indexed {
  createIndexes: () => Promise<unknown>
}

/**
 * Gives requests access to the database.
 * @param models the collections that the work uses; their indexes exist before it begins
 * @returns a function of the connection string that makes one request's access. All work done with it shares one
 *   deadline of 5 s of waiting. It throws Problem `unavailable` (503) when the database is unreachable or does not
 *   answer in time; the next request tries again
 */
export const database =
  (...models: Indexed[]): OpenDatabase =>
  (uri) => {
    const deadline = new Deadline(DATABASE_TIME)
    return async (work) => {
      try {
        return await deadline.wait(async () => {
          await connect(uri)
          await Promise.all(models.map(createIndexes))
          // Nobody waits any more: what was refused must not be written.
          if (deadline.isOver) throw new DatabaseAway('connected too late')
          return work()
        })
      } catch (error) {
        throw isDatabaseFault(error) ? new Problem('unavailable', { cause: error }) : error
      }
    }
  }

/** A fault that is not the driver's own error, or not always. */
class DatabaseAway extends Error {}

let connection: Promise<unknown> | undefined

function connect(uri: string): Promise<unknown> {
  if (connection) {
    log.info('=> using existing database connection')
    return connection
  }
  log.info('=> using new database connection')
  const opened = mongoose.connect(uri, options).catch((cause: unknown) => {
    // A failed attempt is forgotten, so that the next call tries again.
    connection = undefined
    // Not always an error of the driver: a host name of mongodb+srv:// that DNS does not find is Node's own.
    throw new DatabaseAway('cannot connect', { cause })
  })
  connection = opened
  return opened
}

const indexed = new Set<Indexed>()

/** The unique index on the email makes parallel registrations safe: no container works without its indexes. */
async function createIndexes(model: Indexed): Promise<void> {
  if (indexed.has(model)) return
  await model.createIndexes()
  indexed.add(model)
}

const isDatabaseFault = (error: unknown) =>
  error instanceof mongoose.mongo.MongoError ||
  error instanceof DatabaseAway ||
  error instanceof DeadlineExceeded
