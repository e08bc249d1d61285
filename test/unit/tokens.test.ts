import { signer } from '../../auth/Tokens.ts'

test('smoke', () => {
  expect(
    signer(JSON.parse(process.env['SIGNING_KEYS']!), { issuer: 'a', audience: 'b' })(
      { userId: 'u', sessionId: 's', roles: [] },
      new Date(),
    ),
  ).toMatch(/^ey/)
})
