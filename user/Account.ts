/**
 * What the owner of an account changes in it. Each change is one atomic write, with what it depends on in its filter:
 * of many at the same time, one finds it.
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

/** @returns the changed user, or undefined where the account was disabled or deleted since */
export async function renameUser(id: string, name: string): Promise<User | undefined> {
  const document = await UserModel.findOneAndUpdate(
    { _id: id, ...enabled },
    { $set: { name } },
    { returnDocument: 'after' },
  ).lean()
  return document ? toUser(document) : undefined
}

/**
 * Replaces the password of a user, ends the sessions and makes every link that was sent void.
 * @param user as it was when the current password was checked
 * @returns the changed user
 * @throws Problem `unavailable` (503) when another request has changed the password, or the account, meanwhile
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

/** Whatever somebody who knew the old one has begun is void too: another e-mail, another authenticator app. */
const newPassword = (passwordHash: string) => ({
  $set: { passwordHash },
  $inc: { sessionVersion: 1 },
  $unset: { passwordReset: 1, emailConfirmation: 1, totpEnrolment: 1 },
})

/**
 * Makes the token that resets a password; those of before are void.
 * @param user whose e-mail it goes to; it is no good should that be another's, or another one, by now
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

/** The user whom a token lets reset the password; it is not used up. */
export const findByPasswordReset = (token: string, now: Date): Promise<User> =>
  findBy('passwordReset', token, now).then(toUser)

/**
 * Takes the token, replaces the password and ends all sessions. Whoever has the token reads the mail of the account,
 * so its e-mail is verified too.
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
 * Makes the token that confirms an e-mail; those of before are void.
 * @param user as when the mail was asked for
 * @param email the user's own, or the one that takes its place when it is confirmed
 * @returns undefined when the sessions of the user were ended since: whoever asked may not have been the owner
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
 * Takes the token, and makes the e-mail that it was sent to the verified one of the account. A link to reset the
 * password that went to another address is void. Access tokens are outdated, since they say whether it is verified.
 * @returns the user as before and after
 * @throws Problem `invalid_one_time_token` (400); `email_taken` (409) when it has become another user's
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

/** @throws Problem `invalid_one_time_token` (400) for what cannot be a token */
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
