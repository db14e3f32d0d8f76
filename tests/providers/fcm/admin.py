"""Sends by PyPI firebase-admin to a simulator: one line of exception names, or `ok`, for each token.

Arguments: the base of the simulator, the file of a service account, tokens.
"""

import sys

import firebase_admin
from firebase_admin import credentials, messaging

base, file, *tokens = sys.argv[1:]
messaging._MessagingService.FCM_URL = base + "/v1/projects/{0}/messages:send"
app = firebase_admin.initialize_app(
    credentials.Certificate(file), options={"httpTimeout": 20}
)
service = messaging._get_messaging_service(app)
# Its own retries of 500 and 503 take half a minute.
service._client.session.adapters.clear()
import requests

service._client.session.mount("http://", requests.adapters.HTTPAdapter(max_retries=0))

for token in tokens:
    message = messaging.Message(
        token=token,
        data={"a": "1"},
        notification=messaging.Notification(title="t", body="b"),
        android=messaging.AndroidConfig(ttl=60, priority="high", collapse_key="c"),
    )
    try:
        messaging.send(message, app=app)
        print("ok")
    except Exception as error:
        print(type(error).__name__)
