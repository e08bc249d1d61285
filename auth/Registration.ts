/**
 * Registration: creates an account, and a session unless a login requires a verified email.
 */
import { audit } from '../api/Events.ts'
import type { Context, Device } from '../api/Route.ts'
import { bestEffort } from '../lib/BestEffort.ts'
import { identify } from '../lib/Log.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { countAttempt } from '../throttle/Counters.ts'
import { registrationRules } from '../throttle/Rules.ts'
import { DEFAULT_ROLES } from '../user/Roles.ts'
import { createUser, newUserId, offerUser } from '../user/User.ts'
import { needsVerification } from './Login.ts'
import { hashNewPassword } from './Passwords.ts'
import type { SignedIn } from './SessionAnswer.ts'
import { removeSession, startSession } from './Sessions.ts'

type RegistrationSettings =
  | 'LIMITS'
  | 'PEPPER'
  | 'BCRYPT_COST'
  | 'PASSWORD_MIN_LENGTH'
  | 'PRODUCT_NAME'
  | 'REGISTRATION'
  | 'EMAIL_VERIFICATION'
  | 'REFRESH_TOKEN_KEY'
  | 'MAIL_FUNCTION_URL'

interface Registration {
  name: string
  email: string
  password: string
}

/**
 * Registers a user.
 * @returns the new session, or undefined if the user must follow the emailed link first. With
 *   REGISTRATION=private it is always undefined, and takes the same time, whether or not the email is taken
 * @throws Problem `invalid_request` (400) for a password that breaks a rule, `email_taken` (409),
 *   `too_many_attempts` (429)
 */
export async function register(
  { name, email, password }: Registration,
  device: Device,
  context: Context<RegistrationSettings>,
): Promise<SignedIn | undefined> {
  const { settings, database, now } = context
  await database(() => countAttempt(registrationRules(device.address, settings.LIMITS), now))
  const passwordHash = await hashNewPassword('password', password, { name, email }, settings)
  const user = { id: newUserId(), name, email, passwordHash, roles: [...DEFAULT_ROLES] }

  if (settings.REGISTRATION === 'private') {
    const isNew = await database(async () => {
      const isStored = await offerUser(user, now)
      if (isStored) created(user.id)
      return isStored
    })
    await mailLater(context, { mail: isNew ? 'emailVerification' : 'registeredAlready', email })
    return undefined
  }

  const signedIn = needsVerification(settings) ? await create() : await createWithSession()
  await mailLater(context, { mail: 'emailVerification', email })
  return signedIn

  async function create(): Promise<undefined> {
    await database(async () => {
      await createUser(user, now)
      created(user.id)
    })
  }

  /** The session comes first: the account decides, and nothing that can fail may follow it. */
  async function createWithSession(): Promise<SignedIn> {
    const owner = { id: user.id, sessionVersion: 0 }
    const session = await database(() => startSession(owner, device, settings.REFRESH_TOKEN_KEY, now))
    try {
      return await database(async () => {
        const stored = await createUser(user, now)
        created(user.id)
        identify({ sessionId: session.sessionId })
        audit('authn_login_success')
        return { user: stored, ...session }
      })
    } catch (error) {
      await bestEffort('remove a session', () => database(() => removeSession(session.sessionId)))
      throw error
    }
  }
}

function created(userId: string): void {
  identify({ userId })
  audit('user_created')
}
