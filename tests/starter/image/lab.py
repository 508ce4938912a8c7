"""What a browser does with JupyterLab: requests, Jupyter's REST API, and kernels over the websocket."""

import http.cookiejar
import json
import urllib.error
import urllib.request
import uuid

import websocket

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def status_of(url: str, *, method: str = "GET", body: object = None, **headers: str) -> int:
    """Return the status that a request gets, without following redirects to a login."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with OPENER.open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as err:
        return err.code


def cookies_of(link: str) -> tuple[str, str, dict[str, str]]:
    """Return where a browser that came by a link has its cookies, what it sends there, and each cookie's value."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    with opener.open(urllib.request.Request(link, headers={"Accept": "text/html"}), timeout=60):
        cookies = {cookie.name: str(cookie.value) for cookie in jar}
    (path,) = {cookie.path for cookie in jar}
    base = "/".join(link.split("/")[:3]) + path.rstrip("/")
    return base, "; ".join(f"{name}={value}" for name, value in cookies.items()), cookies


def api(link: str, path: str, *, root: str = "api", method: str = "GET", body: object = None) -> dict[str, object]:
    """Return what Jupyter's REST API answers, with the link's token."""
    base, token = link.split("/?")[0], link.rpartition("token=")[2]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{base}/{root}/{path}", data=data, method=method)
    request.add_header("Authorization", f"token {token}")
    with OPENER.open(request, timeout=60) as answer:
        answered: dict[str, object] = json.loads(answer.read() or "{}")
        return answered


def submitted(link: str, code: str) -> tuple[str, websocket.WebSocket, str]:
    """Start code in a new kernel over the websocket API and return the kernel, the socket and the request's id."""
    kernel = str(api(link, "kernels", method="POST", body={"name": "python3"})["id"])
    base, token = link.split("/?")[0].removeprefix("http://"), link.rpartition("token=")[2]
    socket = websocket.create_connection(f"ws://{base}/api/kernels/{kernel}/channels?token={token}", timeout=60)
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    request = uuid.uuid4().hex
    header = {"msg_id": request, "msg_type": "execute_request", "username": "", "session": "t", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    socket.send(json.dumps(message))
    return kernel, socket, request


def executed(link: str, code: str) -> list[dict[str, object]]:
    """Run code in a new kernel and return its messages.

    The reply and what the code printed come on two channels, in any order. The kernel has sent all that it has to say
    when it is idle again (Messaging in Jupyter 5.3, "Kernel status").
    """
    _, socket, request = submitted(link, code)
    messages: list[dict[str, object]] = []
    replied = idle = False
    while not (replied and idle):
        received = json.loads(socket.recv())
        if received["parent_header"].get("msg_id") == request:
            messages.append(received)
            replied = replied or received["msg_type"] == "execute_reply"
            idle = idle or received["content"].get("execution_state") == "idle"
    socket.close()
    return messages
