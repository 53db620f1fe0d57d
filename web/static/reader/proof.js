/* What shows the service that a subscription is this browser's. */

export async function proofOf(reader) {
  const management_token = (await reader.recall("optIn"))?.managementToken;
  if (management_token) return { management_token };
  const { endpoint, keys } = (await reader.currentSubscription())?.toJSON() || {};
  return endpoint ? { endpoint, ...keys } : null;
}
