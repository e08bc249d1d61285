/**
 * The handlers of a deployment that sends mail, on the database and with the settings of this test file, and what a
 * person does with them.
 */
import { TOTP, Secret } from 'otpauth'
import mongoose from 'mongoose'
import { dropDatabase } from './database.ts'
import { request } from './events.ts'
import { type MailFunction, type SmtpServer, startMailFunction, startSmtp } from './mail.ts'

export const PASSWORD = 'a horse on the moon'

export interface Caller {
  id: string
  sessionId: string
  roles: string
}

/** Somebody who is signed in. */
export interface Person {
  email: string
  token: string
  refreshToken: string
  caller: Caller
}

export type Api = Awaited<ReturnType<typeof startAccounts>>

/**
 * Loads the handlers, which read the settings meanwhile.
 * @param settings over those of every test file
 */
export async function startAccounts(settings: Record<string, string> = {}) {
  const smtp: SmtpServer = await startSmtp()
  const mailFunction: MailFunction = await startMailFunction((event) => mail(event))
  Object.assign(process.env, { SMTP_URL: smtp.url, MAIL_FUNCTION_URL: mailFunction.url }, settings)
  const { mail } = await import('../../account/MailHandler.ts')
  const routes = {
    ...(await import('../../auth/AuthHandler.ts')),
    ...(await import('../../auth/SessionHandler.ts')),
    ...(await import('../../account/AccountHandler.ts')),
    ...(await import('../../account/RecoveryHandler.ts')),
    ...(await import('../../account/MfaHandler.ts')),
    ...(await import('../../user/UserHandler.ts')),
  }
  const { verifier } = await import('../../auth/Tokens.ts')
  const { setting } = await import('../../lib/Config.ts')
  const verify = verifier(setting('VERIFICATION_KEYS'), {
    issuer: setting('ISSUER'),
    audience: setting('AUDIENCE'),
  })

  /** Calls a route with a JSON body, from an address, as somebody. */
  const call = async (
    route: keyof typeof routes,
    json?: unknown,
    { caller, address = '192.0.2.1' }: { caller?: Caller | undefined; address?: string } = {},
  ) => {
    const event = request({ json, ...(caller && { authorizer: { ...caller } }) })
    event.requestContext.identity = { sourceIp: address } as never
    const { statusCode, body, headers = {} } = await routes[route](event)
    const answer = (body ? JSON.parse(body) : {}) as Record<string, string>
    return { status: statusCode, code: answer['code'] ?? statusCode, body: answer, headers }
  }

  const signedIn = (email: string, { token, refreshToken }: Record<string, string>): Person => {
    const { sub, sid, roles } = verify(token!, new Date())
    return {
      email,
      token: token!,
      refreshToken: refreshToken!,
      caller: { id: sub, sessionId: sid, roles: roles.join(' ') },
    }
  }

  let people = 0
  /** A new user who has just registered, with the mail to confirm the e-mail. */
  const newPerson = async (email = `person${++people}-${process.pid}@example.com`) => {
    const { status, body } = await call('register', { name: 'Ann', email, password: PASSWORD })
    if (status !== 201) throw new Error(`register answers ${status}`)
    return { ...signedIn(email, body), confirmation: (await smtp.next(email)).token! }
  }
  const signIn = async (email: string, password = PASSWORD) =>
    signedIn(email, (await call('login', { email, password })).body)

  /** Sets an authenticator app up for somebody, whose e-mail it confirms before. */
  const withApp = async (person: Person & { confirmation: string }) => {
    await call('verifyEmail', { token: person.confirmation })
    const { body } = await call('startTotp', { currentPassword: PASSWORD }, person)
    const totp = new TOTP({ secret: Secret.fromBase32(body['secret']!) })
    /** The code of a 30 s so many after this one. */
    const code = (later = 0) => totp.generate({ timestamp: Date.now() + later * 30_000 })
    const answer = await call('confirmTotp', { code: code(-1) }, person)
    if (answer.status !== 200) throw new Error(`confirmTotp answers ${answer.status}`)
    return { code, recoveryCodes: answer.body['recoveryCodes'] as unknown as string[] }
  }

  return {
    call,
    signedIn,
    newPerson,
    signIn,
    withApp,
    verify,
    smtp,
    mailFunction,
    mail,
    stop: async () => {
      await mailFunction.settled()
      await Promise.all([smtp.stop(), mailFunction.stop()])
      await mongoose.disconnect()
      await dropDatabase(process.env['DB']!)
    },
  }
}
