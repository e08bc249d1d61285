/**
 * Stands in for `semver` in the bundles (serverless.yml, esbuild.alias). jsonwebtoken asks it only whether this
 * Node is at least 8, 15.7 or 16.9; package.json asks for 20, so the answer is known and 29 KB are spared.
 */
export const satisfies = () => true
