/**
 * The handlers of a deployment that sends mail, on the database and with the settings of this test file, and what a
 * person does with them.
 */
import { TOTP, Secret } from 'otpauth'
import mongoose from 'mongoose'
import type { Limits } from '../../api/Settings.ts'
import { dropDatabase } from './database.ts'
import { request } from '../../support/events.ts'
import { captureLogs } from './logs.ts'
import { type MailFunction, type SmtpServer, startMailFunction, startSmtp } from '../../support/mail.ts'

export const PASSWORD = 'a horse on the moon'

/** Members of requests and answers that nobody but the client may read. */
const SECRET = /^(email|.*password|.*token|challenge|code|secret|uri|recoveryCodes)$/i

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

/** The setting LIMITS with other limits than those of every test file. */
export const withLimits = (limits: Partial<Limits>) => ({
  LIMITS: JSON.stringify({ ...JSON.parse(process.env['LIMITS']!), ...limits }),
})

/**
 * Loads the handlers, which read the settings meanwhile: nothing may load them before, so a test file imports no module
 * that does.
 * @param settings over those of every test file
 */
export async function startAccounts(settings: Record<string, string> = {}) {
  const smtp: SmtpServer = await startSmtp()
  const mailFunction: MailFunction = await startMailFunction((event) => mail(event))
  const logs = captureLogs()
  Object.assign(
    process.env,
    { SMTP_URL: smtp.url, MAIL_FUNCTION_URL: mailFunction.url, POWERTOOLS_LOG_LEVEL: 'INFO' },
    settings,
  )
  const { mail } = await import('../../mail/MailHandler.ts')
  const routes = {
    ...(await import('../../auth/AuthHandler.ts')),
    ...(await import('../../auth/SessionHandler.ts')),
    ...(await import('../../account/AccountHandler.ts')),
    ...(await import('../../account/RecoveryHandler.ts')),
    ...(await import('../../account/MfaHandler.ts')),
    ...(await import('../../user/UserHandler.ts')),
    ...(await import('../../admin/AdminHandler.ts')),
  }
  const { isRevoked, revocationsSince } = (await import('../../auth/Revocations.ts')).revocations(
    process.env['DB']!,
  )
  const { verifier } = await import('../../auth/Tokens.ts')
  const { settingsOf } = await import('../../api/Environment.ts')
  const { VERIFICATION_KEYS, ISSUER, AUDIENCE } = settingsOf(['VERIFICATION_KEYS', 'ISSUER', 'AUDIENCE'])
  const verify = verifier(VERIFICATION_KEYS, { issuer: ISSUER, audience: AUDIENCE })

  const secrets = new Set<string>()
  /** Remembers what went over the wire and must not be in a log. */
  const keepSecrets = (body: unknown) => {
    for (const [name, value] of Object.entries(body ?? {})) {
      for (const text of [value].flat()) {
        const isId = /^[0-9a-f]{24}$/.test(String(text))
        if (SECRET.test(name) && typeof text === 'string' && text.length >= 6 && !isId) secrets.add(text)
      }
    }
  }

  /** Calls a route with a JSON body, from an address, as somebody. */
  const call = async (
    route: keyof typeof routes,
    json?: unknown,
    {
      caller,
      address = '192.0.2.1',
      headers: more = {},
      query = {},
      path,
    }: {
      caller?: Caller | undefined
      address?: string
      headers?: Record<string, string>
      query?: Record<string, string>
      path?: Record<string, string>
    } = {},
  ) => {
    const event = request({
      json,
      query,
      ...(path && { pathParameters: path }),
      ...(caller && { authorizer: { ...caller } }),
    })
    event.requestContext.identity = { sourceIp: address } as never
    Object.assign(event.headers, more)
    const { statusCode, body, headers = {}, multiValueHeaders = {} } = await routes[route](event)
    const answer = (body ? JSON.parse(body) : {}) as Record<string, string>
    keepSecrets(json)
    keepSecrets({ ...answer, code: undefined })
    const setCookies = [headers['Set-Cookie'] ?? [], multiValueHeaders['Set-Cookie'] ?? []].flat()
    return { status: statusCode, code: answer['code'] ?? statusCode, body: answer, headers, setCookies }
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
  /** A new user who has just registered, with the mail to confirm the email. */
  const newPerson = async (email = `person${++people}-${process.pid}@example.com`, name = 'Ann') => {
    const { status, body } = await call('register', { name, email, password: PASSWORD })
    if (status !== 201) throw new Error(`register answers ${status}`)
    const { token } = await smtp.next(email)
    await mailFunction.settled()
    return { ...signedIn(email, body), confirmation: token! }
  }
  const signIn = async (email: string, password = PASSWORD) =>
    signedIn(email, (await call('login', { email, password })).body)

  /** Sets an authenticator app up for somebody, whose email it confirms before. */
  const withApp = async (person: Person & { confirmation: string }) => {
    await call('verifyEmail', { token: person.confirmation })
    const { body } = await call('startTotp', { currentPassword: PASSWORD }, person)
    const totp = new TOTP({ secret: Secret.fromBase32(body['secret']!) })
    /** The code of a 30 s so many after this one. */
    const code = (later = 0) => totp.generate({ timestamp: Date.now() + later * 30_000 })
    let answer = await call('confirmTotp', { code: code(-1) }, person)
    // The next 30 s had begun when it came.
    if (answer.status !== 200) answer = await call('confirmTotp', { code: code(-1) }, person)
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
    /** Whether the authorizers refuse an access token, from the next question that they ask on. */
    isRevoked: ({ token }: { token: string }) => isRevoked(verify(token, new Date())),
    revocationsSince,
    smtp,
    mailFunction,
    mail,
    /** The lines of the log so far. */
    logged: logs.lines,
    /**
     * What is in the log and must not be: passwords, tokens, codes and emails of all requests, answers and mails so far,
     * and whatever else is given.
     */
    secretsInLog: (more: Iterable<string> = []) => {
      for (const { token } of smtp.received) keepSecrets({ token })
      for (const secret of more) secrets.add(secret)
      return logs.found(secrets)
    },
    /** How many texts that looks for. */
    secretCount: () => secrets.size,
    stop: async () => {
      await mailFunction.settled()
      logs.stop()
      await Promise.all([smtp.stop(), mailFunction.stop()])
      await mongoose.disconnect()
      await dropDatabase(process.env['DB']!)
    },
  }
}
