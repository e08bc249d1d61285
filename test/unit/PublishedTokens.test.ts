/**
 * Tokens that others published as tests: a deployment must refuse every one, also when it is given their keys.
 */
import { InvalidToken, publicKeys, signer, verifier } from '../../auth/Tokens.ts'
import { vectors } from '../support/vectors.ts'
import { type Jwk, NOW, PARTIES, newKey } from '../support/forge.ts'

const isUsable = (jwk: Partial<Jwk> | undefined): jwk is Jwk => jwk?.kty === 'EC' && jwk.crv === 'P-256'
const withKid = (jwk: Jwk): Jwk => ({ ...jwk, kid: jwk.kid ?? 'published' })

const rfcExamples = vectors('rfc-examples.json')

;(rfcExamples ? describe : describe.skip)(
  'tokens printed in RFCs, on jwt.io and in the tests of CVEs',
  () => {
    const { tokens } = JSON.parse(rfcExamples ?? '{"tokens":[]}') as {
      tokens: { where: string; key?: Partial<Jwk>; compact: string }[]
    }

    test.each(tokens.length > 0 ? tokens : [{ where: '', compact: '' }])('$where', ({ key, compact }) => {
      const verify = verifier(publicKeys({ keys: [isUsable(key) ? withKid(key) : newKey()] }), PARTIES)
      expect(() => verify(compact, NOW)).toThrow(InvalidToken)
    })
  },
)

const wycheproof = vectors('wycheproof/json_web_signature_test.json')

;(wycheproof ? describe : describe.skip)('Wycheproof, json_web_signature_test', () => {
  const { testGroups } = JSON.parse(wycheproof ?? '{"testGroups":[]}') as {
    testGroups: { comment: string; public?: Jwk; private: Jwk; tests: { tcId: number; jws: unknown }[] }[]
  }
  const groups = testGroups.map(({ comment, public: publicKey, private: privateKey, tests }) => {
    // Where the group's key cannot be one of ours, our own stands in for it.
    const key = isUsable(publicKey) ? withKid({ ...privateKey, kid: publicKey.kid }) : newKey()
    return { comment, ids: `${tests[0]?.tcId} to ${tests.at(-1)?.tcId}`, key, tests }
  })
  const none = { comment: '', ids: '', key: newKey(), tests: [] }

  test.each(groups.length > 0 ? groups : [none])('$comment $ids', ({ key, tests }) => {
    const verify = verifier(publicKeys({ keys: [key] }), PARTIES)
    // The payloads are not claims, so even the valid ones are refused: this shows that the key is not why.
    const token = signer({ keys: [key] }, PARTIES)({ id: 'u1', roles: [], tokenVersion: 0 }, 's1', NOW)
    expect(verify(token, NOW).sub).toBe('u1')
    for (const { tcId, jws } of tests) {
      const text = typeof jws === 'string' ? jws : JSON.stringify(jws)
      expect({ tcId, verdict: refused(() => verify(text, NOW)) }).toEqual({ tcId, verdict: 'InvalidToken' })
    }
  })
})

function refused(work: () => unknown): string {
  try {
    work()
    return 'accepted'
  } catch (error) {
    return error instanceof Error ? error.name : String(error)
  }
}
