# Makes an image with Packer: packer init . && packer build -var bundle=bbs-image.tar.gz -var
# bundle_sha256=… bbs.pkr.hcl. bundle.sh makes the archive and prints its SHA-256. The result is that of
# cloud-init.yaml, with the tags that the policies of docs/aws.md require.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
  }
}

variable "bundle" {
  type        = string
  description = "The archive that bundle.sh has made."
}

variable "bundle_sha256" {
  type        = string
  description = "Its SHA-256, as bundle.sh printed it."
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.bundle_sha256))
    error_message = "The bundle_sha256 has to be 64 hexadecimal digits."
  }
}

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "fleet" {
  type        = string
  default     = "bbs"
  description = "[ec2] name of the fleet, for the tag bbs:fleet: login servers launch only images with it."
}

variable "broker" {
  type        = string
  default     = "yes"
  description = "Whether it contains ActiveMQ, for a login server with a broker on the same machine: yes or no."
}

variable "fluent_bit" {
  type        = string
  default     = "5.1.1"
  description = "Version of Fluent Bit, which ships logs to CloudWatch Logs; empty for none."
}

source "amazon-ebs" "bbs" {
  region        = var.region
  instance_type = "t3.small"
  ssh_username  = "admin"
  ami_name      = "bbs-${formatdate("YYYYMMDD-hhmm", timestamp())}"

  # Debian's own account.
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "debian-13-amd64-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  metadata_options {
    http_tokens = "required"
  }

  imds_support = "v2.0"

  tags = {
    "bbs:fleet" = var.fleet
    Name        = "bbs"
  }

  snapshot_tags = {
    "bbs:fleet" = var.fleet
    Name        = "bbs"
  }
}

build {
  sources = ["source.amazon-ebs.bbs"]

  provisioner "file" {
    source      = var.bundle
    destination = "/tmp/bundle.tar.gz"
  }

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash {{ .Path }}"
    env = {
      BUNDLE_SHA256  = var.bundle_sha256
      BBS_BROKER     = var.broker
      BBS_FLUENT_BIT = var.fluent_bit
      BBS_PROXY      = "yes"
    }
    inline = [
      "set -euo pipefail",
      "cloud-init status --wait",
      "echo \"$BUNDLE_SHA256  /tmp/bundle.tar.gz\" | sha256sum --check --quiet",
      "mkdir /run/bbs-image",
      "tar --extract --gzip --file /tmp/bundle.tar.gz --directory /run/bbs-image",
      "set -a",
      ". /run/bbs-image/wheel.env",
      "set +a",
      "bash /run/bbs-image/install.sh",
      "rm /tmp/bundle.tar.gz",
      "bash /run/bbs-image/forget.sh",
    ]
  }
}
