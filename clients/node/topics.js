/** Names of topics. */

/**
 * Returns a text as a component of a topic, with other characters percent-encoded.
 * @param {string} text
 */
function component(text) {
  return text.replace(/[^A-Za-z0-9_\-+@~/]/gu, (char) =>
    [...new TextEncoder().encode(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''));
}

/**
 * Returns the topic with these components, or the prefix of the topics that begin with them.
 * @param {...string} components
 */
export function topic(...components) {
  return components.map((each) => `${component(each)}.`).join('');
}
