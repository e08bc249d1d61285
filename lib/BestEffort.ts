/**
 * Work that follows the write that decides a request, or runs beside it: it cannot change the answer.
 */
import { log, loggable } from './Log.ts'

/**
 * Runs work that follows the deciding write of a request. A failure is logged and cannot change the answer.
 * @param what a description for the log, such as "forget the failed logins"
 */
export async function bestEffort(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    log.warn(`could not ${what}`, { error: loggable(error) })
  }
}

/**
 * Waits for work and for everything that runs beside it: Lambda freezes what is still running after the answer.
 * @param others must not reject
 * @returns the result of the work, or throws its error
 */
export async function alongside<Result>(
  work: Promise<Result>,
  ...others: Promise<unknown>[]
): Promise<Result> {
  try {
    return await work
  } finally {
    await Promise.all(others)
  }
}
