/**
 * Work on the database of this test file, as a handler does it.
 */
import type { Database } from '../../api/Route.ts'
import { SessionModel } from '../../auth/Sessions.ts'
import { database } from '../../db.ts'
import { AttemptsModel } from '../../throttle/Counters.ts'
import { UserModel } from '../../user/UserModel.ts'

const openDatabase = database(UserModel, SessionModel, AttemptsModel)

/** Each call is a request of its own. */
export const withDatabase: Database = (work) => openDatabase(process.env['DB']!)(work)
