/**
 * Somebody has been in an account, with its password and a session, or has registered it with another person's e-mail:
 * nothing that they have prepared works once its owner has it back.
 */
import { type Api, PASSWORD, type Person, startAccounts } from '../support/account.ts'

let api: Api
beforeAll(async () => {
  api = await startAccounts()
})
afterAll(() => api.stop())

const NEW = 'another horse on the sun'

/** The token in the next mail with a link. */
async function nextLink(email: string): Promise<string> {
  const { token } = await api.smtp.next(email)
  return token ?? nextLink(email)
}

test.each([
  {
    name: 'reset',
    change: async ({ email }: Person) => {
      await api.call('forgotPassword', { email })
      return api.call('resetMyPassword', { token: await nextLink(email), password: NEW })
    },
  },
  {
    name: 'changed',
    change: (owner: Person) =>
      api.call('changeMyPassword', { currentPassword: PASSWORD, newPassword: NEW }, owner),
  },
])('a change of the e-mail that was asked for is void when the password is $name', async ({ change }) => {
  const person = await api.newPerson()
  const email = `thief-${person.email}`
  await api.call('changeMyEmail', { email, currentPassword: PASSWORD }, person)
  const prepared = await nextLink(email)
  expect((await change(person)).status).toBeLessThan(300)
  expect((await api.call('verifyEmail', { token: prepared })).code).toBe('invalid_one_time_token')
  expect((await api.call('login', { email: person.email, password: NEW })).status).toBe(200)
})
