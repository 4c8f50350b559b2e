//! Where the admin API is reached: a TCP address, a Unix socket, or both.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{fs, net};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Connections that the kernel keeps while all slots are taken.
const BACKLOG: i32 = 64;

/// A socket that connections come from.
pub trait Accept: Send + Sized + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The socket as the runtime knows it.
    type Listener: Send + Sync;

    /// Hands the socket to the runtime that this runs on.
    fn listen(self) -> io::Result<Self::Listener>;

    /// The next connection.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A bound TCP address.
pub struct TcpSocket {
    socket: net::TcpListener,
    /// As configured, perhaps with port 0.
    requested: SocketAddr,
    address: SocketAddr,
}

impl TcpSocket {
    /// Binds `address`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::adopt(address, net::TcpListener::bind(address)?)
    }

    /// Goes on with a socket that is bound to `requested`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn adopt(requested: SocketAddr, socket: net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            requested,
            address,
        })
    }

    /// A further handle to it, and what was asked for.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn handle(&self) -> io::Result<(SocketAddr, net::TcpListener)> {
        Ok((self.requested, self.socket.try_clone()?))
    }

    /// Where it is reached, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Accept for TcpSocket {
    type Stream = TcpStream;
    type Listener = TcpListener;

    fn listen(self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.socket)
    }

    async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A bound Unix socket.
pub struct UnixSocket {
    socket: Socket,
    file: Arc<SocketFile>,
}

impl UnixSocket {
    /// Binds `path`, with the mode 0600. The socket that a dead process left
    /// there is replaced.
    ///
    /// # Errors
    ///
    /// When a living process listens there, something else has that name, or
    /// the system refuses.
    pub fn bind(path: &Path) -> Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile::of(path)?;
        // Before anybody can connect, which takes listening.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .context("its mode cannot be set")?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            file: Arc::new(file),
        })
    }

    /// Goes on with the socket that another process has bound to `path`.
    ///
    /// # Errors
    ///
    /// When the name is gone.
    pub fn adopt(path: &Path, socket: OwnedFd) -> Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            file: Arc::new(SocketFile::of(path)?),
        })
    }

    /// A further handle to it, and its name.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn handle(&self) -> io::Result<(PathBuf, OwnedFd)> {
        let socket = self.socket.try_clone()?;
        Ok((self.file.path.clone(), socket.into()))
    }

    /// Where it is reached.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The file, which goes when nobody holds this any more.
    pub fn file(&self) -> Arc<SocketFile> {
        Arc::clone(&self.file)
    }
}

impl Accept for UnixSocket {
    type Stream = UnixStream;
    type Listener = UnixListener;

    fn listen(self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.socket.into())
    }

    async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
        Ok(listener.accept().await?.0)
    }
}

/// The name of a Unix socket in the file system; removed when dropped, unless
/// another process has taken the name meanwhile.
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Another process has taken the socket itself.
    left: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
            left: AtomicBool::new(false),
        })
    }

    /// It stays when this is dropped: another process has the socket.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = || identity(&self.path).is_ok_and(|now| now == self.identity);
        if !self.left.load(Relaxed) && is_ours() {
            // Nothing depends on it: the next start removes it too.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let about = fs::symlink_metadata(path)?;
    Ok((about.dev(), about.ino()))
}

fn remove_stale(path: &Path) -> Result<()> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    ensure!(
        about.file_type().is_socket(),
        "something that is no socket has this name"
    );
    match Probe::connect(path) {
        Ok(_) => bail!("another process listens there"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("the socket of a dead process cannot be removed")
        }
        Err(error) => Err(error).context("the socket that is there cannot be tried"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        match UnixSocket::bind(path) {
            Ok(_) => panic!("bound"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn only_its_owner_may_open_a_socket_and_it_goes_with_its_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let socket = UnixSocket::bind(&path).expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(refusal(&path).contains("another process listens"));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn the_socket_of_a_dead_process_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "what a dead process leaves");
        drop(UnixSocket::bind(&path).expect("bound"));

        fs::write(&path, "precious").expect("written");
        assert!(refusal(&path).contains("no socket"));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[test]
    fn a_name_that_another_process_took_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let socket = UnixSocket::bind(&path).expect("bound");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "another's").expect("written");
        drop(socket);
        assert!(path.exists());
    }
}
