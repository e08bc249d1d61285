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
import { DEFAULT_ROLES } from './Roles.ts'
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
 * account's mail, so this also verifies the email. If the email was never verified, the account may have been
 * prepared by a stranger: it starts over, without their second factor, roles and pending changes.
 * @param user the user as it was when the new password was checked
 * @throws Problem `invalid_one_time_token` (400)
 */
export async function resetPassword(
  user: User,
  token: string,
  passwordHash: string,
  now: Date,
): Promise<User> {
  const { $set, $inc, $unset } = newPassword(passwordHash)
  const startedOver = user.emailVerified
    ? { $set: {}, $unset: {} }
    : { $set: { roles: [...DEFAULT_ROLES] }, $unset: { totp: 1, recoveryCodes: 1 } }
  const changed = await outdateTokens({ ...live('passwordReset', token, now), ...sameEmail(user) }, now, {
    $set: { ...$set, ...startedOver.$set, emailVerified: true },
    $inc,
    $unset: { ...$unset, ...startedOver.$unset },
  })
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
 * Returns the user whose unverified email a token can verify, without using up the token.
 * @throws Problem `invalid_one_time_token` (400), also for the token of a change
 */
export async function findByVerification(token: string, now: Date): Promise<User> {
  const document = await findBy('emailConfirmation', token, now)
  if (document.emailVerified || document.emailConfirmation!.email !== document.email) {
    throw new Problem('invalid_one_time_token')
  }
  return toUser(document)
}

/**
 * Uses the token of someone whose password was just checked, and makes the email of the account a verified
 * one. All sessions end: they may be those of a stranger who knew no more than the address.
 * @param user the user as it was when the password was checked
 * @throws Problem `invalid_one_time_token` (400)
 */
export async function verifyEmail(user: User, token: string, now: Date): Promise<User> {
  const filter = {
    ...live('emailConfirmation', token, now),
    ...sameEmail(user),
    ...sameSessions(user),
    passwordHash: user.passwordHash,
  }
  const changed = await outdateTokens(filter, now, {
    $set: { emailVerified: true },
    $inc: { sessionVersion: 1 },
    $unset: { emailConfirmation: 1, totpEnrolment: 1 },
  })
  if (!changed) throw new Problem('invalid_one_time_token')
  return changed
}

/**
 * Uses the token and makes the address that it was sent to the verified email of the account. A password
 * reset link that went to the address of before stops working. Access tokens become outdated, because they say
 * whether the email is verified.
 * @param user the user who is signed in, and who asked for the change
 * @returns the changed user
 * @throws Problem `invalid_one_time_token` (400), also for the token of another user and for one that verifies
 *   a new account; `email_taken` (409) if the email now belongs to another user
 */
export async function changeEmail(user: User, token: string, now: Date): Promise<User> {
  const document = await findBy('emailConfirmation', token, now)
  const { email } = document.emailConfirmation!
  if (String(document._id) !== user.id || email === user.email) throw new Problem('invalid_one_time_token')
  const filter = { ...live('emailConfirmation', token, now), ...sameSessions(user) }
  try {
    const changed = await outdateTokens(filter, now, {
      $set: { email, emailVerified: true },
      $unset: { emailConfirmation: 1, passwordReset: 1 },
    })
    if (changed) return changed
  } catch (error) {
    throw isDuplicate(error) ? new Problem('email_taken', { cause: error }) : error
  }
  throw new Problem('invalid_one_time_token')
}

/**
 * Uses a token to withdraw what it was sent for: the registration of an account whose email was never verified,
 * or a change of the email.
 * @param endSessions called before an account is deleted
 * @returns the user as before, and whether the account is gone
 * @throws Problem `invalid_one_time_token` (400)
 */
export async function withdraw(
  token: string,
  endSessions: (userId: string) => Promise<void>,
  now: Date,
): Promise<{ user: User; isDeleted: boolean }> {
  const document = await findBy('emailConfirmation', token, now)
  const user = toUser(document)
  const filter = { ...live('emailConfirmation', token, now), ...sameEmail(user) }
  const isDeleted = !user.emailVerified && document.emailConfirmation!.email === user.email
  if (isDeleted) await endSessions(user.id)
  const count = isDeleted
    ? (await UserModel.deleteOne(filter)).deletedCount
    : (await UserModel.updateOne(filter, { $unset: { emailConfirmation: 1 } })).matchedCount
  if (count === 0) throw new Problem('invalid_one_time_token')
  return { user, isDeleted }
}

/** Creates a filter that matches only while the email is the same, and verified or not as before. */
const sameEmail = ({ email, emailVerified }: User): mongoose.QueryFilter<Document> => ({
  email,
  // Users stored by another system may lack it.
  emailVerified: emailVerified ? true : mongoose.trusted({ $ne: true }),
})

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
