/**
 * The changes that owners make to their accounts. Each one is a single atomic write whose filter holds
 * everything it depends on, so of many at the same time, one wins.
 */
import mongoose from 'mongoose'
import { Problem } from '../api/Problem.ts'
import {
  changedMeanwhile,
  type Document,
  isDuplicate,
  outdateTokens,
  sameSessions,
  toUser,
  type User,
  UserModel,
} from './UserModel.ts'
import { CONFIRMATION_LIFETIME, newToken, readToken, RESET_LIFETIME } from './OneTimeTokens.ts'

const enabled = { disabled: mongoose.trusted({ $ne: true }) }

/** @returns the changed user, or undefined if the account was disabled or deleted in the meantime */
export async function renameUser(id: string, name: string): Promise<User | undefined> {
  const document = await UserModel.findOneAndUpdate(
    { _id: id, ...enabled },
    { $set: { name } },
    { returnDocument: 'after' },
  ).lean()
  return document ? toUser(document) : undefined
}

/**
 * Replaces the password of a user, ends all sessions and invalidates all links that were sent.
 * @param user the user as it was when the current password was checked
 * @returns the changed user
 * @throws Problem `unavailable` (503) if another request changed the password or the account in the meantime
 */
export async function replacePassword(user: User, passwordHash: string, now: Date): Promise<User> {
  const changed = await outdateTokens(
    { _id: user.id, passwordHash: user.passwordHash, ...enabled },
    now,
    newPassword(passwordHash),
  )
  if (!changed) throw changedMeanwhile()
  return changed
}

/**
 * Also cancels whatever someone with the old password may have started: a new email, a new authenticator app.
 */
const newPassword = (passwordHash: string) => ({
  $set: { passwordHash },
  $inc: { sessionVersion: 1 },
  $unset: { passwordReset: 1, emailConfirmation: 1, totpEnrolment: 1 },
})

/**
 * Issues a token that resets a password. Earlier tokens stop working.
 * @param user the user and the email that the token goes to. If the user has a different email by now, the
 *   token is useless
 */
export async function issuePasswordReset(
  { id, email }: { id: string; email: string },
  now: Date,
): Promise<string> {
  const { token, hash } = newToken(id)
  const expiresAt = new Date(now.getTime() + RESET_LIFETIME)
  await UserModel.updateOne({ _id: id, email }, { $set: { passwordReset: { hash, expiresAt } } })
  return token
}

/** Returns the user whose password a token can reset, without using up the token. */
export const findByPasswordReset = (token: string, now: Date): Promise<User> =>
  findBy('passwordReset', token, now).then(toUser)

/**
 * Uses the token, replaces the password and ends all sessions. Someone who has the token can read the
 * account's mail, so this also verifies the email.
 * @throws Problem `invalid_one_time_token` (400)
 */
export async function resetPassword(token: string, passwordHash: string, now: Date): Promise<User> {
  const { $set, ...change } = newPassword(passwordHash)
  const filter = live('passwordReset', token, now)
  const changed = await outdateTokens(filter, now, { ...change, $set: { ...$set, emailVerified: true } })
  if (!changed) throw new Problem('invalid_one_time_token')
  return changed
}

/**
 * Issues a token that confirms an email. Earlier tokens stop working.
 * @param user the user as it was when the email was requested
 * @param email the user's current email, or the one that replaces it when confirmed
 * @returns the token, or undefined if the user's sessions were ended in the meantime: the request may not
 *   have come from the owner
 */
export async function issueEmailConfirmation(
  user: Pick<User, 'id' | 'sessionVersion'>,
  email: string,
  now: Date,
): Promise<string | undefined> {
  const { token, hash } = newToken(user.id)
  const expiresAt = new Date(now.getTime() + CONFIRMATION_LIFETIME)
  const { matchedCount } = await UserModel.updateOne(sameSessions(user), {
    $set: { emailConfirmation: { hash, email, expiresAt } },
  })
  return matchedCount > 0 ? token : undefined
}

/**
 * Uses the token and makes the address that it was sent to the verified email of the account. A password
 * reset link that went to a different address stops working. Access tokens become outdated, because they say
 * whether the email is verified.
 * @returns the user before and after the change
 * @throws Problem `invalid_one_time_token` (400); `email_taken` (409) if the email now belongs to another
 *   user
 */
export async function confirmEmail(token: string, now: Date): Promise<{ before: User; after: User }> {
  const document = await findBy('emailConfirmation', token, now)
  const before = toUser(document)
  const { email } = document.emailConfirmation!
  let after
  try {
    after = await outdateTokens(live('emailConfirmation', token, now), now, {
      $set: { email, emailVerified: true },
      $unset: { emailConfirmation: 1, ...(email !== before.email && { passwordReset: 1 }) },
    })
  } catch (error) {
    throw isDuplicate(error) ? new Problem('email_taken', { cause: error }) : error
  }
  if (!after) throw new Problem('invalid_one_time_token')
  return { before, after }
}

type Link = 'passwordReset' | 'emailConfirmation'

/** @throws Problem `invalid_one_time_token` (400) */
async function findBy(link: Link, token: string, now: Date): Promise<Document> {
  const document = await UserModel.findOne(live(link, token, now)).lean()
  if (!document) throw new Problem('invalid_one_time_token')
  return document
}

/** @throws Problem `invalid_one_time_token` (400) if the text cannot be a token */
function live(link: Link, token: string, now: Date): mongoose.QueryFilter<Document> {
  const parts = readToken(token)
  if (!parts) throw new Problem('invalid_one_time_token')
  return {
    _id: parts.userId,
    [`${link}.hash`]: parts.hash,
    [`${link}.expiresAt`]: mongoose.trusted({ $gt: now }),
    ...enabled,
  }
}
