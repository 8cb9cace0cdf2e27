//! poolftpd: an FTP server on a fixed pool of worker threads, its client and its balancer.

pub mod ftp;
pub mod pool;
