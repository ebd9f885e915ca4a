/** Part of a language file: see `first-texts.ts`. */
declare module "*.json?first" {
  const texts: Record<string, unknown>;
  export default texts;
}
