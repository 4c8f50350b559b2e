"""The backends, and every proxy in front of them: configurations and commands.

Peers have their best honest settings: kept connections on both sides, no access log,
one worker, `reuseport`.
"""

import os
import pathlib

from .processes import program

MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")

# For the many idle connections, each with one to a backend at most.
MOST_CONNECTIONS = 32768

NGINX = """\
{modules}
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {most};
pid {folder}/{name}.pid;
error_log stderr error;
events {{ worker_connections {most}; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/{name}-body;
  proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi;
  uwsgi_temp_path {folder}/{name}-uwsgi;
  scgi_temp_path {folder}/{name}-scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
{body}
}}
"""

BACKEND = """\
  server {{
    listen {address} backlog=4096;
    location / {{ return 200 '{name}'; }}
    # Reads the body whole before it answers.
    location /upload {{
      client_body_buffer_size 2m;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_pass http://{address}/;
    }}
    location /body/ {{ root {folder}; sendfile on; tcp_nopush on; }}
  }}"""

# Without buffering, and in large pieces, a large body needs no file on its way: the
# better one of nginx's two ways for it here.
NGINX_PROXY = """\
  {globals}
  upstream pool {{
    {upstream}
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  map $http_upgrade $connection_wanted {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      {location}
    }}
    location /body/ {{
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
    }}
    location /upload {{
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }}
    location /websocket {{
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_wanted;
    }}
  }}
"""

# Least time as nginx's own documents describe it: a moving average of the time
# to the response head, times what is in flight. One worker, so plain tables do.
LUA_INIT = """\
init_by_lua_block {{
    require "resty.core"
    balancer = require "ngx.balancer"
    peers = {{ {peers} }}
    turn = 0
  }}"""

LUA_BALANCE = """\
server 0.0.0.1;
    balancer_by_lua_block {
      turn = turn + 1
      local count, best, least = #peers, nil, nil
      for step = 1, count do
        local peer = peers[(turn + step) % count + 1]
        local score = peer.time * (1 + peer.in_flight) / peer.weight
        if not least or score < least then best, least = peer, score end
      end
      best.in_flight = best.in_flight + 1
      ngx.ctx.peer = best
      balancer.set_current_peer(best.host, best.port)
    }"""

LUA_OBSERVE = """\
log_by_lua_block {
        local peer = ngx.ctx.peer
        peer.in_flight = peer.in_flight - 1
        local time = tonumber(ngx.var.upstream_header_time)
        if time then peer.time = 0.95 * peer.time + 0.05 * math.max(time, 0.0001) end
      }"""

HAPROXY = """\
global
  nbthread 1
  maxconn {most}
defaults
  mode {mode}
  {reuse}
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend public
  bind 127.0.0.1:{port} backlog 4096
  default_backend pool
backend pool
  balance roundrobin
{servers}
"""

ANUBIS = """\
workers = 1

[[listeners]]
address = "127.0.0.1:{port}"
keep-alive = "1h"

[pools.web]
strategy = "{strategy}"
keep-alive = "1h"
keep-alive-connections = 1024
{backends}
"""


def nginx_command(name, folder, body, modules=""):
    user = f"user {pathlib.Path('~').expanduser().owner()};" if os.geteuid() == 0 else ""
    path = folder / f"{name}.conf"
    path.write_text(
        NGINX.format(name=name, folder=folder, body=body, modules=modules, user=user, most=MOST_CONNECTIONS)
    )
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(path)]


def backends_command(folder, backends):
    servers = (
        BACKEND.format(address=address, name=name, folder=folder) for name, address in backends.items()
    )
    return nginx_command("backends", folder, "\n".join(servers))


def nginx(folder, port, backends, _options):
    servers = "\n    ".join(f"server {address};" for address in backends.values())
    body = NGINX_PROXY.format(globals="", upstream=servers, port=port, location="")
    return nginx_command("nginx", folder, body)


def nginx_lua(folder, port, backends, _options):
    def peer(address):
        host, number = address.split(":")
        return f'{{ host = "{host}", port = {number}, weight = 1, time = 0.02, in_flight = 0 }}'

    peers = ", ".join(map(peer, backends.values()))
    body = NGINX_PROXY.format(
        globals=LUA_INIT.format(peers=peers), upstream=LUA_BALANCE, port=port, location=LUA_OBSERVE
    )
    modules = "\n".join(f"load_module {path};" for path in lua_modules())
    return nginx_command("nginx-lua", folder, body, modules)


def haproxy(name, mode, reuse):
    def command(folder, port, backends, _options):
        servers = "\n".join(f"  server {name} {address}" for name, address in backends.items())
        path = folder / f"{name}.cfg"
        path.write_text(
            HAPROXY.format(mode=mode, reuse=reuse, port=port, servers=servers, most=MOST_CONNECTIONS)
        )
        return [program("haproxy"), "-db", "-f", str(path)]

    return command


def anubis(name, strategy):
    def command(folder, port, backends, options):
        path = folder / f"{name}.toml"
        path.write_text(anubis_text(strategy, port, backends))
        return [str(options.anubis), "run", str(path)]

    return command


def anubis_text(strategy, port, backends):
    members = "\n".join(
        f'[[pools.web.backends]]\nname = "{name}"\naddress = "{address}"'
        for name, address in backends.items()
    )
    return ANUBIS.format(strategy=strategy, port=port, backends=members)


PROXIES = {
    "haproxy-tcp": haproxy("haproxy-tcp", "tcp", ""),
    "nginx": nginx,
    "haproxy": haproxy("haproxy", "http", "http-reuse always"),
    "nginx-lua": nginx_lua,
    "anubis": anubis("anubis", "least-time"),
    "anubis-fallback": anubis("anubis-fallback", "fallback"),
}


def lua_modules():
    """nginx's Lua module and the one it needs, in the order to load them."""
    names = ("ndk_http_module.so", "ngx_http_lua_module.so")
    for folder in map(pathlib.Path, MODULES):
        if all((folder / name).exists() for name in names):
            return [folder / name for name in names]
    return []
