/**
 * Once the write that decides a request is done, nothing that follows can change its answer. The database fails at
 * exactly that point here.
 */
import { setTimeout } from 'node:timers/promises'
import bcrypt from 'bcryptjs'
import mongoose from 'mongoose'
import { request } from '../../support/events.ts'
import { until } from '../../support/until.ts'
import { type Api, PASSWORD, startAccounts } from '../support/account.ts'

const NEW = 'another horse on the sun'

let api: Api
let models: { User: typeof mongoose.Model; Session: typeof mongoose.Model; Attempts: typeof mongoose.Model }

beforeAll(async () => {
  api = await startAccounts()
  models = {
    User: mongoose.models['User']!,
    Session: mongoose.models['Session']!,
    Attempts: mongoose.models['Attempts']!,
  }
})
afterEach(() => jest.restoreAllMocks())
afterAll(() => api.stop())

const away = () => Promise.reject(new mongoose.mongo.MongoNetworkError('connection closed'))

/** Lets every bulk of counters fail but those that count an attempt, which are upserts. */
const failToForget = () => {
  const { collection } = models.Attempts
  const bulkWrite = collection.bulkWrite.bind(collection)
  return jest
    .spyOn(collection, 'bulkWrite')
    .mockImplementation((operations, options) =>
      JSON.stringify(operations).includes('"upsert":true') ? bulkWrite(operations, options) : away(),
    )
}

test('a login whose counters cannot be forgotten is a login', async () => {
  const ann = await api.newPerson()
  const failing = failToForget()
  const { status, body } = await api.call('login', { email: ann.email, password: PASSWORD })
  expect(failing).toHaveBeenCalledTimes(2)
  expect(status).toBe(200)
  expect((await api.call('refresh', { refreshToken: body['refreshToken'] })).status).toBe(200)
})

test('so is one with a second factor: its challenge and its code', async () => {
  const ann = await api.newPerson()
  const app = await api.withApp(ann)
  failToForget()
  const { code, body } = await api.call('login', { email: ann.email, password: PASSWORD })
  expect(code).toBe('mfa_required')
  const answer = await api.call('loginMfa', { challenge: body['challenge'], code: app.code() })
  expect(answer.status).toBe(200)
})

test('a login whose better hash cannot be stored is a login', async () => {
  const ann = await api.newPerson()
  // As another system made it, without our pepper.
  const passwordHash = await bcrypt.hash(PASSWORD, 4)
  await models.User.updateOne({ email: ann.email }, { $set: { passwordHash } })
  const failing = jest.spyOn(models.User, 'updateOne').mockImplementation(away as never)
  expect((await api.call('login', { email: ann.email, password: PASSWORD })).status).toBe(200)
  expect(failing).toHaveBeenCalledTimes(1)
})

test('a reset whose counters cannot be cleared is a reset', async () => {
  const ann = await api.newPerson()
  await api.call('forgotPassword', { email: ann.email })
  const { token } = await api.smtp.next(ann.email)
  const failing = jest.spyOn(models.Attempts, 'deleteMany').mockImplementation(away as never)
  expect((await api.call('resetMyPassword', { token, password: NEW })).status).toBe(204)
  expect(failing).toHaveBeenCalledTimes(1)
  expect((await api.call('login', { email: ann.email, password: NEW })).status).toBe(200)
})

test('a changed password is told, though its session could not be moved on', async () => {
  const ann = await api.newPerson()
  const failing = jest.spyOn(models.Session, 'findOneAndUpdate').mockReturnValue({ lean: away } as never)
  const change = { currentPassword: PASSWORD, newPassword: NEW }
  const { status, body } = await api.call('changeMyPassword', change, ann)
  expect(failing).toHaveBeenCalledTimes(1)
  expect(status).toBe(200)
  expect(Object.keys(body)).toEqual(['auth', 'token', 'tokenType', 'expiresIn'])
  jest.restoreAllMocks()

  const { sub, sid } = api.verify(body['token']!, new Date())
  const caller = { id: sub, sessionId: sid, roles: 'user' }
  expect((await api.call('me', undefined, { caller })).status).toBe(200)
  // The session itself ends with the access token: the old refresh token is of before the change.
  expect((await api.call('refresh', { refreshToken: ann.refreshToken })).status).toBe(401)
  expect((await api.call('login', { email: ann.email, password: NEW })).status).toBe(200)
})

test('a confirmation whose counters cannot be forgotten confirms, and the code that it took is not lost', async () => {
  const ann = await api.newPerson()
  const app = await api.withApp(ann)
  failToForget()
  const json = { currentPassword: PASSWORD, code: app.code() }
  expect((await api.call('newRecoveryCodes', json, ann)).status).toBe(200)
})

test('nobody is registered whose session cannot be stored: trying again works', async () => {
  const registration = { name: 'Ann', email: 'no-session@example.com', password: PASSWORD }
  jest.spyOn(models.Session, 'create').mockImplementation(away as never)
  expect(await api.call('register', registration)).toMatchObject({ status: 503, code: 'unavailable' })
  jest.restoreAllMocks()
  expect((await api.call('register', registration)).status).toBe(201)
})

test('a registration that is refused leaves no session behind', async () => {
  const ann = await api.newPerson()
  const before = await models.Session.countDocuments()
  const registration = { name: 'Ann', email: ann.email, password: PASSWORD }
  expect((await api.call('register', registration)).code).toBe('email_taken')
  expect(await models.Session.countDocuments()).toBe(before)
  // Not even a failure to remove it shows.
  jest.spyOn(models.Session, 'deleteOne').mockImplementation(away as never)
  expect((await api.call('register', registration)).code).toBe('email_taken')
})

describe('a database that goes silent at that point', () => {
  const never = () => new Promise<never>(() => undefined)

  test('changes no answer either', async () => {
    const [ann, bea, cyd, dan] = await Promise.all([1, 2, 3, 4].map(() => api.newPerson()))
    const [app, appOfDan] = [await api.withApp(bea!), await api.withApp(dan!)]
    const challenge = (await api.call('login', { email: bea!.email, password: PASSWORD })).body['challenge']
    await api.call('forgotPassword', { email: cyd!.email })
    const { token } = await api.smtp.next(cyd!.email)

    const { collection } = models.Attempts
    const bulkWrite = collection.bulkWrite.bind(collection)
    jest
      .spyOn(collection, 'bulkWrite')
      .mockImplementation((operations, options) =>
        JSON.stringify(operations).includes('"upsert":true') ? bulkWrite(operations, options) : never(),
      )
    jest.spyOn(models.Attempts, 'deleteMany').mockImplementation(never as never)
    const answers = await Promise.all([
      api.call('login', { email: ann!.email, password: PASSWORD }),
      api.call('loginMfa', { challenge, code: app.recoveryCodes[0] }),
      api.call('disableTotp', { currentPassword: PASSWORD, code: appOfDan.recoveryCodes[0] }, dan),
      api.call('resetMyPassword', { token, password: NEW }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 204, 204])
  })

  test('loses no event: what the client was told 503 of is in the log once it is decided', async () => {
    const ann = await api.newPerson()
    const bea = await api.newPerson()
    await api.call('refresh', { refreshToken: ann.refreshToken })
    await models.Session.updateOne({ _id: ann.caller.sessionId }, { $set: { replacedAt: new Date(0) } })

    const late = async <Result>(result: Promise<Result>): Promise<Result> => {
      const value = await result
      await setTimeout(5_300)
      return value
    }
    for (const model of [models.Session, models.User]) {
      const findOneAndUpdate = model.findOneAndUpdate.bind(model) as (...args: unknown[]) => {
        lean: () => Promise<unknown>
      }
      jest.spyOn(model, 'findOneAndUpdate').mockImplementation(((...args: unknown[]) => ({
        lean: () => late(findOneAndUpdate(...args).lean()),
      })) as never)
    }
    const { updateUser } = await import('../../admin/AdminHandler.ts')
    const answers = await Promise.all([
      api.call('refresh', { refreshToken: ann.refreshToken }),
      updateUser(
        request({
          json: { disabled: true },
          authorizer: { ...ann.caller, roles: 'user admin' },
          pathParameters: { id: bea.caller.id },
        }),
      ),
    ])
    expect([answers[0].status, answers[1].statusCode]).toEqual([503, 503])
    const events = () => api.logged().map(({ event }) => event)
    await until(
      () => events().includes('authn_token_reuse') && events().includes('user_disabled'),
      'the events that came late',
    )
  })
})
