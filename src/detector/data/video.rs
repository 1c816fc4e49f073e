use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use image::RgbImage;
use serde::Deserialize;

use super::select::FrameRule;
use crate::{Error, Result, detector::faces::MAX_SIDE};

/// The greatest number of frames that are taken of a video.
pub const MAX_FRAMES: usize = 1000;
/// Containers that hold one film. Play lists, which name other files, are not among them.
const CONTAINERS: &str = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc";
/// What is kept of FFmpeg's messages, in bytes.
const MAX_MESSAGE: usize = 2000;

/// Frames of video files, evenly spread, by the FFmpeg that is installed: its programs `ffmpeg`
/// and `ffprobe`.
///
/// A film is read from one local file; nothing it refers to is followed.
#[derive(burn::config::Config, Debug, PartialEq)]
pub struct VideoConfig {
    /// How many frames at most, from 1 to [`MAX_FRAMES`].
    #[config(default = 32)]
    pub frames: usize,
    /// Which they are.
    #[config(default = "FrameRule::Even")]
    pub frame_rule: FrameRule,
    /// The program that decodes.
    #[config(default = "\"ffmpeg\".into()")]
    pub ffmpeg: PathBuf,
    /// The program that counts the frames.
    #[config(default = "\"ffprobe\".into()")]
    pub ffprobe: PathBuf,
    /// How long one video may take, from 1 to 86400 seconds.
    #[config(default = 120)]
    pub seconds: u64,
}

/// What `ffprobe` says.
#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    width: u32,
    height: u32,
    nb_read_packets: String,
}

impl VideoConfig {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for the first that is out of its range.
    pub fn check(&self) -> Result<()> {
        let refused = |field, rule, value| Err(Error::Setting { field, rule, value });
        if !(1..=MAX_FRAMES).contains(&self.frames) {
            return refused("frames", "be from 1 to 1000", self.frames.to_string());
        }
        if !(1..=86_400).contains(&self.seconds) {
            return refused("seconds", "be from 1 to 86400", self.seconds.to_string());
        }
        Ok(())
    }

    /// Hands over the frames of a video, each with its number in it, rising from 0.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a program that is not there, with how to get it; for a video that
    /// cannot be read, takes too long, or is larger than
    /// [`MAX_SIDE`](crate::detector::faces::MAX_SIDE) a side. [`Error::Setting`] for a setting out
    /// of its range. What `each` returns.
    pub fn read(
        &self,
        video: impl AsRef<Path>,
        mut each: impl FnMut(usize, RgbImage) -> Result<()>,
    ) -> Result<()> {
        self.check()?;
        let video = video.as_ref();
        let deadline = Instant::now() + Duration::from_secs(self.seconds);
        let real = video.canonicalize().map_err(|error| Error::File {
            path: video.into(),
            reason: format!("cannot be read: {error}"),
        })?;
        let film = Film {
            path: video,
            deadline,
            seconds: self.seconds,
            input: ["file:".as_ref(), real.as_os_str()]
                .iter()
                .copied()
                .collect(),
        };
        let picks = self
            .frame_rule
            .pick(film.count(&self.ffprobe)?, self.frames);
        let mut pictures = film.decode(&self.ffmpeg, &picks)?;
        let mut decoded = 0;
        // Where the container promised more frames than can be decoded, the last are missing.
        for number in picks {
            let Some(picture) = pictures.next()? else {
                break;
            };
            each(number, picture)?;
            decoded += 1;
        }
        pictures.end()?;
        match decoded {
            0 => Err(film.refused("has no frame that can be decoded".into())),
            _ => Ok(()),
        }
    }

    /// Writes the frames of a video into a folder, as `000.png` and so on by their numbers, and
    /// returns the files.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), or [`Error::File`] for a file that cannot be written.
    pub fn extract(
        &self,
        video: impl AsRef<Path>,
        folder: impl AsRef<Path>,
    ) -> Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        let unwritten = |path: &Path, error: &dyn std::error::Error| Error::File {
            path: path.into(),
            reason: format!("cannot be written: {error}"),
        };
        std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        let mut files = Vec::new();
        self.read(video, |number, picture| {
            let file = folder.join(format!("{number:03}.png"));
            picture
                .save(&file)
                .map_err(|error| unwritten(&file, &error))?;
            files.push(file);
            Ok(())
        })?;
        Ok(files)
    }
}

/// A video file, and how long there is for it.
struct Film<'a> {
    path: &'a Path,
    input: OsString,
    deadline: Instant,
    seconds: u64,
}

impl Film<'_> {
    fn refused(&self, reason: String) -> Error {
        Error::File {
            path: self.path.into(),
            reason,
        }
    }

    fn count(&self, ffprobe: &Path) -> Result<usize> {
        let options = "-v error -select_streams v:0 -count_packets -of json \
                       -show_entries stream=nb_read_packets,width,height";
        let options: Vec<&str> = options.split_whitespace().collect();
        let mut output = self.run(ffprobe, &options, &[], |output| {
            let mut text = Vec::new();
            output.take(1 << 16).read_to_end(&mut text)?;
            Ok((!text.is_empty()).then_some(text))
        })?;
        let text = output.next()?.unwrap_or_default();
        output.end()?;
        let probe: Probe = serde_json::from_slice(&text)
            .map_err(|error| self.refused(format!("ffprobe does not understand it: {error}")))?;
        let Some(stream) = probe.streams.first() else {
            return Err(self.refused("has no pictures: it is no video".into()));
        };
        let (width, height) = (stream.width, stream.height);
        if width.max(height) > MAX_SIDE {
            let text = format!("is {width} x {height}, more than {MAX_SIDE} pixels a side");
            return Err(self.refused(text));
        }
        match stream.nb_read_packets.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(self.refused("has no frames".into())),
        }
    }

    fn decode(&self, ffmpeg: &Path, picks: &[usize]) -> Result<Output<'_, RgbImage>> {
        let terms: Vec<String> = picks.iter().map(|n| format!("eq(n,{n})")).collect();
        // New times one after the other: no frame is dropped or doubled to hold a rate.
        let filter = format!("select='{}',setpts=N/TB/25", terms.join("+"));
        let count = picks.len().to_string();
        let mut after = vec![
            "-map",
            "0:v:0",
            "-vf",
            &filter,
            "-r",
            "25",
            "-frames:v",
            &count,
        ];
        after.extend("-c:v ppm -pix_fmt rgb24 -f image2pipe pipe:1".split(' '));
        self.run(ffmpeg, &["-v", "error", "-nostdin"], &after, read_ppm)
    }

    /// Starts a program on the film. Nothing of its arguments passes through a shell.
    fn run<T: Send + 'static>(
        &self,
        program: &Path,
        before: &[&str],
        after: &[&str],
        read: fn(&mut BufReader<ChildStdout>) -> io::Result<Option<T>>,
    ) -> Result<Output<'_, T>> {
        let mut child = Command::new(program)
            .args(before)
            .args([
                "-format_whitelist",
                CONTAINERS,
                "-protocol_whitelist",
                "file",
                "-i",
            ])
            .arg(&self.input)
            .args(after)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| not_started(program, &error))?;
        let (sender, results) = mpsc::sync_channel(1);
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output);
            thread::spawn(move || {
                while let Some(result) = read(&mut output).transpose() {
                    let failed = result.is_err();
                    if sender.send(result).is_err() || failed {
                        return;
                    }
                }
            });
        }
        let messages = child
            .stderr
            .take()
            .map(|m| thread::spawn(move || last_of(m)));
        Ok(Output {
            film: self,
            child,
            results,
            messages,
        })
    }
}

fn not_started(program: &Path, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "is not installed: get FFmpeg from ffmpeg.org or a package \
             manager (`apt install ffmpeg`, `brew install ffmpeg`), set `ffmpeg` and `ffprobe` to \
             where its programs are, or hand over pictures instead of videos"
            .into(),
        _ => format!("cannot be started: {error}"),
    };
    Error::File {
        path: program.into(),
        reason,
    }
}

/// The last of what a program had to say.
fn last_of(mut messages: impl Read) -> String {
    let mut last = Vec::new();
    let mut part = [0; 1024];
    while let Ok(count @ 1..) = messages.read(&mut part) {
        last.extend_from_slice(part.get(..count).unwrap_or_default());
        last.drain(..last.len().saturating_sub(MAX_MESSAGE));
    }
    String::from_utf8_lossy(&last).trim().replace('\n', "; ")
}

/// What a program under way has written. It is ended with this.
struct Output<'a, T> {
    film: &'a Film<'a>,
    child: Child,
    results: mpsc::Receiver<io::Result<T>>,
    messages: Option<thread::JoinHandle<String>>,
}

impl<T> Output<'_, T> {
    fn next(&mut self) -> Result<Option<T>> {
        let left = self.film.deadline.saturating_duration_since(Instant::now());
        match self.results.recv_timeout(left) {
            Ok(Ok(result)) => Ok(Some(result)),
            Ok(Err(error)) => Err(self.film.refused(format!("cannot be decoded: {error}"))),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(self.too_slow()),
        }
    }

    /// Waits for the program to end well.
    fn end(mut self) -> Result<()> {
        while self.next()?.is_some() {}
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < self.film.deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(None) => return Err(self.too_slow()),
                Err(error) => return Err(self.film.refused(format!("cannot be awaited: {error}"))),
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = self
            .messages
            .take()
            .and_then(|messages| messages.join().ok());
        let said = said.unwrap_or_default();
        Err(self
            .film
            .refused(format!("cannot be decoded by FFmpeg ({status}): {said}")))
    }

    fn too_slow(&self) -> Error {
        let seconds = self.film.seconds;
        let text = format!("took longer than {seconds} s: set `seconds` higher, or cut it");
        self.film.refused(text)
    }
}

impl<T> Drop for Output<'_, T> {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a picture as FFmpeg writes it: `P6`, width, height, 255, each ended by white space, and
/// the bytes; none at the end.
fn read_ppm(output: &mut BufReader<ChildStdout>) -> io::Result<Option<RgbImage>> {
    if output.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut word = || -> io::Result<String> {
        let mut word = String::new();
        for byte in output.by_ref().take(16).bytes() {
            match byte? {
                byte if byte.is_ascii_whitespace() => return Ok(word),
                byte => word.push(char::from(byte)),
            }
        }
        Err(bad("FFmpeg's picture has no header"))
    };
    let header = [word()?, word()?, word()?, word()?];
    let sides = [&header[1], &header[2]].map(|side| side.parse::<u32>().ok());
    let [Some(width @ 1..=MAX_SIDE), Some(height @ 1..=MAX_SIDE)] = sides else {
        return Err(bad("FFmpeg's picture has sides beyond the limit"));
    };
    if header[0] != "P6" || header[3] != "255" {
        return Err(bad("FFmpeg's picture is of another kind"));
    }
    let mut bytes = vec![0; 3 * width as usize * height as usize];
    output.read_exact(&mut bytes)?;
    Ok(RgbImage::from_raw(width, height, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<Vec<PathBuf>>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let new = VideoConfig::new;
        for (config, field) in [
            (new().with_frames(0), "frames"),
            (new().with_frames(MAX_FRAMES + 1), "frames"),
            (new().with_seconds(0), "seconds"),
        ] {
            assert!(config.check().unwrap_err().to_string().starts_with(field));
        }
    }

    #[test]
    fn without_ffmpeg_it_is_said_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let video = folder.path().join("film.mp4");
        std::fs::write(&video, "film").unwrap();
        let config = VideoConfig::new().with_ffprobe(folder.path().join("ffprobe"));
        let text = said(config.extract(&video, folder.path()));
        assert!(
            text.contains("not installed") && text.contains("apt install ffmpeg"),
            "{text}"
        );
        let text = said(config.extract(folder.path().join("no.mp4"), folder.path()));
        assert!(text.contains("no.mp4: cannot be read"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_never_ends_is_ended() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("slow");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let config = VideoConfig::new()
            .with_seconds(1)
            .with_ffprobe(program.clone());
        let start = Instant::now();
        let text = said(config.extract(&program, folder.path()));
        assert!(text.contains("longer than 1 s"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_last_of_what_was_said() {
        let text = "x".repeat(5000) + "\nthe end\n";
        let last = last_of(text.as_bytes());
        assert!(last.len() <= MAX_MESSAGE + 1 && last.ends_with("x; the end"));
    }
}
