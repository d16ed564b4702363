"""An RTSP server by GStreamer, for the system's Python (it has the `gi` module): rtsp_server.py ORDER, an order in JSON.

    {"port": 0, "play": {"/cam": PIPELINE}, "record": {"/up": PIPELINE}, "user": ["name", "password"]}

Prints {"port": N}. On stdin: "MOUNT ELEMENT PROPERTY VALUE" sets a property of an element in a running pipeline.
"""

import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PERMITTED = ("media.factory.access", "media.factory.construct")


def main() -> None:
    order = json.loads(sys.argv[1])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(order.get("port", 0)))
    running = {}
    mounts = server.get_mount_points()
    modes = (("play", GstRtspServer.RTSPTransportMode.PLAY), ("record", GstRtspServer.RTSPTransportMode.RECORD))
    for mode, transport in modes:
        for path, launch in order.get(mode, {}).items():
            factory = GstRtspServer.RTSPMediaFactory()
            factory.set_launch(launch)
            factory.set_shared(True)
            factory.set_latency(0)
            factory.set_transport_mode(transport)
            factory.connect("media-configure", lambda _, media, path=path: running.__setitem__(path, media.get_element()))
            if "user" in order:
                factory.set_permissions(permissions())
            mounts.add_factory(path, factory)
    if "user" in order:
        name, password = order["user"]
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, password), token)
        server.set_auth(auth)
    server.attach(None)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=listen, args=(running, loop), daemon=True).start()
    loop.run()


def permissions() -> GstRtspServer.RTSPPermissions:
    allowed = GstRtspServer.RTSPPermissions()
    role = Gst.Structure.new_empty("user")
    for what in PERMITTED:
        role.set_value(what, True)
    allowed.add_role_from_structure(role)
    return allowed


def listen(running: dict[str, Gst.Element], loop: GLib.MainLoop) -> None:
    """Carry out the lines on stdin; its end ends the server, so that no test leaves one behind."""
    for line in sys.stdin:
        mount, element, key, value = line.strip().split(" ", 3)
        target = running[mount].get_by_name(element)
        if key == "caps":
            target.set_property("caps", Gst.Caps.from_string(value))
        else:
            Gst.util_set_object_arg(target, key, value)
    loop.quit()


if __name__ == "__main__":
    main()
