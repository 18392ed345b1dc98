//! The user program of the driver `xshm_echo`, in Rust; `user.c` is one in C. `ci/driver.sh` builds the driver, loads it,
//! and runs this program under Wine. docs/driver.md is the guide.
//!
//! ```text
//! driver COUNT     sends COUNT messages to the driver, which sends them back with inverted bytes
//! ```

#[cfg(windows)]
mod device {
    use std::ffi::c_void;
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::windows::io::AsRawHandle;
    use std::ptr;
    use xshm::ClientHandles;

    #[link(name = "kernel32")]
    extern "system" {
        fn DeviceIoControl(
            device: *mut c_void, code: u32, input: *const c_void, input_size: u32, output: *mut c_void,
            output_size: u32, returned: *mut u32, overlapped: *mut c_void,
        ) -> i32;
    }

    /// `CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)`
    const fn code(function: u32) -> u32 {
        0x22 << 16 | 3 << 14 | function << 2
    }

    /// The driver's device. When it is closed, the driver leaves the channel.
    pub struct Device(File);

    impl Device {
        pub fn open() -> io::Result<Self> {
            OpenOptions::new().read(true).write(true).open(r"\\.\XshmEcho").map(Device)
        }

        /// Gives the driver the handles of a channel. When this returns, the driver has requested a connection.
        pub fn attach(&self, handles: &ClientHandles) -> io::Result<()> {
            let events = handles.events.expect("the server has events");
            let all = [
                handles.section,
                events.s2c_data,
                events.c2s_data,
                events.s2c_space,
                events.c2s_space,
                events.request,
                events.acknowledge,
                events.disconnect,
            ];
            self.control(code(0x800), &all.map(|handle| handle as u64))
        }

        pub fn detach(&self) -> io::Result<()> {
            self.control(code(0x801), &[])
        }

        fn control(&self, code: u32, input: &[u64]) -> io::Result<()> {
            let mut returned = 0;
            // SAFETY: the input has this length, and the call waits for the driver.
            let done = unsafe {
                DeviceIoControl(
                    self.0.as_raw_handle(),
                    code,
                    input.as_ptr().cast(),
                    std::mem::size_of_val(input) as u32,
                    ptr::null_mut(),
                    0,
                    &mut returned,
                    ptr::null_mut(),
                )
            };
            if done == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        }
    }
}

#[cfg(windows)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::thread;
    use std::time::{Duration, Instant};
    use xshm::{ServerOptions, ShmError};

    let patience = Some(Duration::from_secs(20));
    let count: u32 = std::env::args().nth(1).ok_or("usage: driver COUNT")?.parse()?;
    let message = |number: u32| {
        let size = 4 + number.wrapping_mul(2_654_435_761) as usize % 1000;
        let filler = (0..size as u32 - 4).map(move |at| number.wrapping_add(at) as u8);
        number.to_le_bytes().into_iter().chain(filler).collect::<Vec<u8>>()
    };

    let device = device::Device::open()?;
    let mut server = ServerOptions::new().anonymous_events().start_anonymous()?;
    device.attach(&server.client_handles()?)?;
    server.wait_for_client(patience)?;

    let begun = Instant::now();
    let (sender, receiver) = server.split()?;
    thread::scope(|scope| -> Result<(), Box<dyn std::error::Error>> {
        let sending =
            scope.spawn(move || (0..count).try_for_each(|n| sender.send_timeout(&message(n), patience)));
        let mut answer = Vec::new();
        for number in 0..count {
            receiver.receive_timeout(&mut answer, patience)?;
            answer.iter_mut().for_each(|byte| *byte = !*byte);
            if answer != message(number) {
                return Err(format!("answer {number} is another message").into());
            }
        }
        Ok(sending.join().expect("no panic")?)
    })?;
    println!("{count} messages to the driver and back in {:.2} s", begun.elapsed().as_secs_f64());

    device.detach()?;
    match server.receive_from_client(&mut Vec::new()) {
        Err(ShmError::NotConnected) => Ok(()),
        other => Err(format!("the driver has left, and yet: {other:?}").into()),
    }
}

#[cfg(not(windows))]
fn main() {
    eprintln!("Drivers exist only on Windows. On Linux, ci/driver.sh runs this with a driver under Wine.");
    std::process::exit(2);
}
