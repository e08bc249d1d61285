/**
 * Databases for tests, on the server of this run.
 */
import { randomBytes } from 'node:crypto'
import type mongoose from 'mongoose'

/** The connection string of a new database, which leaves nothing behind if dropDatabase is called with it. */
export function databaseUri(): string {
  const uri = new URL(process.env['TEST_SERVER']!)
  // The database in the string is where the user is looked up, unless authSource says another.
  const authSource = uri.pathname.slice(1)
  if (uri.username && authSource && !uri.searchParams.has('authSource')) {
    uri.searchParams.set('authSource', authSource)
  }
  uri.pathname = `/test_${randomBytes(6).toString('hex')}`
  return uri.href
}

/** Runs work on a database with a client that is closed after it. */
export async function onDatabase<Result>(
  uri: string,
  work: (database: mongoose.mongo.Db) => Promise<Result>,
): Promise<Result> {
  // Loaded only by files that need it: every file loads this one.
  const { mongo } = (await import('mongoose')).default
  const client = await mongo.MongoClient.connect(uri)
  try {
    return await work(client.db())
  } finally {
    await client.close()
  }
}

export const dropDatabase = (uri: string) => onDatabase(uri, (database) => database.dropDatabase())
