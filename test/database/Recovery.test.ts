/**
 * Mails with a link, from the request to the end of what the link does: real SMTP, real database.
 */
import { type Api, PASSWORD, startAccounts } from '../support/account.ts'

let api: Api
beforeAll(async () => {
  api = await startAccounts()
})
afterAll(() => api.stop())

const NEW = 'another horse on the sun'

describe('a forgotten password', () => {
  test('is replaced by the link in the mail, which ends all sessions and begins none', async () => {
    const ann = await api.newPerson()
    expect(await api.call('forgotPassword', { email: ann.email })).toMatchObject({ status: 202 })
    const { token } = await api.smtp.next(ann.email)
    const answer = await api.call('resetMyPassword', { token, password: NEW })
    expect([answer.status, answer.body]).toEqual([204, {}])
    expect(await api.call('refresh', { refreshToken: ann.refreshToken })).toMatchObject({ status: 401 })
    expect(await api.call('login', { email: ann.email, password: PASSWORD })).toMatchObject({ status: 401 })
    expect(await api.call('login', { email: ann.email, password: NEW })).toMatchObject({ status: 200 })
    expect((await api.smtp.next(ann.email)).subject).toBe('Example: your password was reset')
  })
})
