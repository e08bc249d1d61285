/**
 * Lambdas of the second factor: set it up, turn it off, replace its recovery codes. POST /login/mfa is in
 * auth/AuthHandler.ts.
 */
import * as z from 'zod/mini'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { route } from '../api/Route.ts'
import { Problem } from '../api/Problem.ts'
import { fields } from '../user/User.ts'
import { confirmCaller, failed, hasCode, hasPassword } from './Confirmation.ts'
import { mailLater } from '../mail/MailJobs.ts'
import {
  confirmEnrolment,
  describeSecondFactor,
  removeSecondFactor,
  replaceRecoveryCodes,
  startEnrolment,
} from '../user/SecondFactor.ts'

const { password: currentPassword, code } = fields

/** GET /me/mfa: 200 `{ totp, recoveryCodesLeft }`. */
export const mfa = route({}, ({ caller }) =>
  withDatabase(async () => {
    const body = await describeSecondFactor(caller.id)
    if (!body) throw new Problem('invalid_token')
    return { status: 200, body }
  }),
)

/**
 * POST /me/mfa/totp: 200 `{ secret, uri }` for an authenticator app, good for ten minutes. The e-mail must be verified: a
 * stranger who has registered with it could lock its owner out for good.
 */
export const startTotp = route({ body: z.strictObject({ currentPassword }) }, async ({ body, caller }) => {
  const user = await confirmCaller(caller, hasPassword(body.currentPassword))
  if (!user.emailVerified) throw new Problem('email_not_verified')
  const enrolment = await withDatabase(() =>
    startEnrolment(user, setting('PRODUCT_NAME'), setting('PEPPER'), new Date()),
  )
  if (!enrolment) throw new Problem('mfa_enabled')
  return { status: 200, body: enrolment }
})

/** POST /me/mfa/totp/confirm: 200 `{ recoveryCodes }`. From now on a login asks for a code. */
export const confirmTotp = route({ body: z.strictObject({ code }) }, async ({ body, caller }) => {
  let recoveryCodes: string[] | undefined
  const user = await confirmCaller(caller, async (caller_) => {
    if (caller_.totp) throw new Problem('mfa_enabled')
    recoveryCodes = await withDatabase(() =>
      confirmEnrolment(caller_, body.code, setting('PEPPER'), new Date()),
    )
    if (!recoveryCodes) throw failed('wrong_code')
  })
  audit('authn_mfa_enabled')
  await mailLater({ mail: 'notice', notice: 'mfaEnabled', email: user.email })
  return { status: 200, body: { recoveryCodes } }
})

/** DELETE /me/mfa/totp: 204. */
export const disableTotp = route(
  { body: z.strictObject({ currentPassword, code }) },
  async ({ body, caller }) => {
    const user = await confirmCaller(caller, hasPassword(body.currentPassword), hasCode(body.code))
    await withDatabase(() => removeSecondFactor(user))
    audit('authn_mfa_disabled')
    await mailLater({ mail: 'notice', notice: 'mfaDisabled', email: user.email })
    return { status: 204 }
  },
)

/** POST /me/mfa/recovery-codes: 200 `{ recoveryCodes }`, in place of those of before. */
export const newRecoveryCodes = route(
  { body: z.strictObject({ currentPassword, code }) },
  async ({ body, caller }) => {
    const user = await confirmCaller(caller, hasPassword(body.currentPassword), hasCode(body.code))
    const recoveryCodes = await withDatabase(() => replaceRecoveryCodes(user))
    audit('authn_recovery_codes_created')
    await mailLater({ mail: 'notice', notice: 'recoveryCodesReplaced', email: user.email })
    return { status: 200, body: { recoveryCodes } }
  },
)
