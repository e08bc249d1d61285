/**
 * One cached MongoDB connection per container. Lambda keeps the process between invocations, so each one
 * reuses the connection of the last.
 */
import mongoose from 'mongoose'
import type { OpenDatabase } from './api/Route.ts'
import { write } from './api/Events.ts'
import { Problem } from './api/Problem.ts'
import { Deadline, DeadlineExceeded } from './lib/Deadline.ts'
import { log } from './lib/Log.ts'

// Treats operators such as {"$ne": null} in a value as plain values (OWASP NoSQL injection). Schemas already
// refuse them.
mongoose.set('sanitizeFilter', true)
mongoose.set('strictQuery', 'throw')

/**
 * How long one request may wait for the database in total, in milliseconds. It is shorter than every
 * function's timeout, so that the client gets our 503 instead of the gateway's 504.
 */
const DATABASE_TIME = 5_000

const options: mongoose.ConnectOptions = {
  bufferCommands: false,
  // A container serves one request at a time.
  maxPoolSize: 5,
  // Lambda freezes the process between invocations, and a socket that was idle for long is often dead.
  maxIdleTimeMS: 60_000,
  serverSelectionTimeoutMS: 4_000,
  connectTimeoutMS: 4_000,
  // Gives up on a socket that stays silent for this long, so that the next request gets a new one.
  socketTimeoutMS: 4_000,
  // The driver would retry when it finds its socket dead. In a container that was frozen meanwhile, that is
  // long after the client got a 503 and tried again, and a retried refresh would look like theft.
  retryWrites: false,
  // An acknowledged write survives a crash of the database.
  writeConcern: { w: 'majority', journal: true },
}

/** The part of a Mongoose model that is used here. */
interface Indexed {
  createIndexes: () => Promise<unknown>
}

/**
 * Declares how requests use the database.
 * @param models the collections that the work uses. Missing indexes are created before the work begins
 * @returns a function that takes the connection string and opens the database for one request. All waits of
 *   that request share a deadline of 5 s. It throws Problem `unavailable` (503) when the database is
 *   unreachable or too slow, and the next request tries again
 */
export const database =
  (...models: Indexed[]): OpenDatabase =>
  (uri) => {
    const deadline = new Deadline(DATABASE_TIME)
    return async (work) => {
      const result = (async () => {
        await connect(uri)
        await Promise.all(models.map(createIndexes))
        // The request was already refused, so it must not write anything.
        if (deadline.isOver) throw new DatabaseAway('connected too late')
        return work()
      })()
      try {
        return await deadline.wait(() => result)
      } catch (error) {
        if (error instanceof DeadlineExceeded) result.catch(reportLate)
        throw isDatabaseFault(error) ? new Problem('unavailable', { cause: error }) : error
      }
    }
  }

/** The client got a 503, but what was refused after that, such as a stolen token, still belongs in the audit trail. */
function reportLate(error: unknown): void {
  if (error instanceof Problem) for (const event of error.events) write(event)
}

/** The database is unreachable, for a reason that is not always one of the driver's own errors. */
class DatabaseAway extends Error {}

let connection: Promise<unknown> | undefined

function connect(uri: string): Promise<unknown> {
  if (connection) {
    log.info('=> using existing database connection')
    return connection
  }
  log.info('=> using new database connection')
  const opened = mongoose.connect(uri, options).catch((cause: unknown) => {
    // Forget the failed attempt, so that the next request tries again.
    connection = undefined
    // Not always a driver error: if DNS does not know the host of a mongodb+srv:// URL, the error is Node's.
    throw new DatabaseAway('cannot connect', { cause })
  })
  connection = opened
  return opened
}

const indexed = new Set<Indexed>()

/**
 * The unique index on the email makes parallel registrations safe, so no container works without its indexes.
 */
async function createIndexes(model: Indexed): Promise<void> {
  if (indexed.has(model)) return
  await model.createIndexes()
  indexed.add(model)
}

const isDatabaseFault = (error: unknown) =>
  error instanceof mongoose.mongo.MongoError ||
  error instanceof DatabaseAway ||
  error instanceof DeadlineExceeded
