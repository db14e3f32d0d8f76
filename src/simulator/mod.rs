//! A fake APNs and a fake GCM endpoint.
