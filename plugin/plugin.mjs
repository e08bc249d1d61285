/**
 * Loads the plugin and the handlers, which are TypeScript, for the Serverless Framework, which only loads
 * JavaScript.
 */
import { require } from 'tsx/cjs/api'

const load = (/** @type {string} */ file) => require(file, import.meta.url)

export default class extends load('./Plugin.ts').AuthPlugin {
  load = load
}
